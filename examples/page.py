"""What the demos' pages are made of: a document in one file, a table, the loss curves."""

from __future__ import annotations

import base64
import html
import io
import json
import mimetypes
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt

STYLE = """
body { font: 16px/1.4 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } td, th { padding: .2rem .8rem; border-bottom: 1px solid #ccc; text-align: left }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1rem }
.card { border: 1px solid #ccc; padding: .6rem } .card img { width: 8rem; image-rendering: pixelated }
.card audio { width: 100% }
.wrong { border-color: #c00 }
"""


def document(title: str, heading: str, body: str) -> str:
    """A whole HTML page; `body` is HTML."""
    return f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{STYLE}</style><h1>{heading}</h1>{body}"


def card(media: str, said: str, truth: str, *, asked: str = "", right: bool) -> str:
    """One question: what it is about (HTML), the question, what the model said, the truth."""
    mark = "" if right else " wrong"
    question = f"{html.escape(asked)}<br>" if asked else ""
    return (
        f"<div class='card{mark}'>{media}<p>{question}<b>{html.escape(said)}</b> "
        f"(truth: {html.escape(truth)})</p></div>"
    )


def picture(file: Path) -> str:
    """A picture, in the page itself."""
    return f"<img src='{_inline(file)}' alt=''>"


def sound(file: Path) -> str:
    """A sound to play, in the page itself."""
    return f"<audio controls src='{_inline(file)}'></audio>"


def _inline(file: Path) -> str:
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """The first row is the head."""
    head, *rest = [[html.escape(cell) for cell in row] for row in rows]
    body = "".join(f"<tr>{''.join(f'<td>{c}</td>' for c in row)}</tr>" for row in rest)
    return f"<table><tr>{''.join(f'<th>{c}</th>' for c in head)}</tr>{body}</table>"


def curves(runs: Path) -> str:
    """The losses of the stages under `runs`, in the order in which they were run, as one SVG each."""
    logs = sorted(runs.glob("*/log.json"), key=lambda path: path.stat().st_mtime)
    figure, axes = plt.subplots(1, len(logs), figsize=(8, 3), layout="constrained", squeeze=False)
    for axis, log in zip(axes[0], logs, strict=True):
        entries = [entry for entry in json.loads(log.read_text()) if "loss" in entry]
        axis.plot([entry["step"] for entry in entries], [entry["loss"] for entry in entries])
        axis.set_title(log.parent.name)
        axis.set_xlabel("step")
        axis.set_yscale("log")
    axes[0][0].set_ylabel("loss")
    out = io.StringIO()
    figure.savefig(out, format="svg")
    plt.close(figure)
    return out.getvalue()[out.getvalue().index("<svg") :]
