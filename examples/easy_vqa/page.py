"""The demo's page: pictures with question, answer and truth; the accuracy table; the loss curves."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt

from tinyllava_kit.evaluation.answers import Judged
from tinyllava_kit.evaluation.exact_match import is_right

STYLE = """
body { font: 16px/1.4 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } td, th { padding: .2rem .8rem; border-bottom: 1px solid #ccc; text-align: left }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1rem }
.card { border: 1px solid #ccc; padding: .6rem } .card img { width: 8rem; image-rendering: pixelated }
.wrong { border-color: #c00 }
"""


def write_page(path: Path, assets: Path, answers: Sequence[Judged], table: Sequence[Sequence[str]]) -> None:
    """Write the page as one file."""
    head, *rows = [[html.escape(cell) for cell in row] for row in table]
    body = "".join(f"<tr>{''.join(f'<td>{c}</td>' for c in row)}</tr>" for row in rows)
    header = "".join(f"<th>{c}</th>" for c in head)
    path.write_text(
        f"<!doctype html><meta charset=utf-8><title>easy-VQA</title><style>{STYLE}</style>"
        f"<h1>easy-VQA: pictures the model never saw</h1><table><tr>{header}</tr>{body}</table>"
        f"<h2>Questions and answers</h2><div class=cards>{''.join(_card(assets, j) for j in answers)}</div>"
        f"<h2>Training loss</h2>{_curves(assets / 'runs')}",
        encoding="utf-8",
    )


def _card(assets: Path, judged: Judged) -> str:
    row = judged.name.split("'")[1]  # test.json[12] 'test-3-7'
    picture = (assets / "easy-vqa" / _pictures(assets)[row]).read_bytes()
    source = "data:image/png;base64," + base64.b64encode(picture).decode()
    mark = "" if is_right(judged) else " wrong"
    return (
        f"<div class='card{mark}'><img src='{source}' alt=''><p>{html.escape(judged.question)}<br>"
        f"<b>{html.escape(judged.said)}</b> (truth: {html.escape(judged.truth)})</p></div>"
    )


def _pictures(assets: Path) -> dict[str, str]:
    return {row["id"]: row["image"][0] for row in json.loads((assets / "easy-vqa" / "test.json").read_text())}


def _curves(runs: Path) -> str:
    """The stages' losses behind one another, as SVG."""
    figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
    before = 0
    for log in sorted(runs.glob("*/log.json"), key=lambda p: p.stat().st_mtime):
        entries = [e for e in json.loads(log.read_text()) if "loss" in e]
        axes.plot([before + e["step"] for e in entries], [e["loss"] for e in entries], label=log.parent.name)
        before += entries[-1]["step"] if entries else 0
    axes.set_xlabel("step")
    axes.set_ylabel("loss per target token")
    axes.set_yscale("log")
    axes.legend()
    out = io.StringIO()
    figure.savefig(out, format="svg")
    plt.close(figure)
    return out.getvalue()[out.getvalue().index("<svg") :]
