"""What the demos' pages are made of: a document in one file, a table, the loss curves."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt

from tinyllava_kit.pages import html as html_page

STYLE = """
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1rem }
.card { border: 1px solid #ccc; padding: .6rem } .card img { width: 8rem; image-rendering: pixelated }
.card audio { width: 100% }
.wrong { border-color: #c00 }
"""


def document(title: str, heading: str, body: str) -> str:
    """A whole HTML page; `body` is HTML."""
    return html_page.document(title, f"<h1>{heading}</h1>{body}", STYLE)


def card(media: str, said: str, truth: str, *, asked: str = "", right: bool) -> str:
    """One question: what it is about (HTML), the question, what the model said, the truth."""
    mark = "" if right else " wrong"
    question = f"{html.escape(asked)}<br>" if asked else ""
    return (
        f"<div class='card{mark}'>{media}<p>{question}<b>{html.escape(said)}</b> "
        f"(truth: {html.escape(truth)})</p></div>"
    )


def shown(file: Path) -> str:
    """A picture or a sound, in the page itself."""
    return html_page.media(file) or ""


def table(rows: Sequence[Sequence[str]]) -> str:
    """The first row is the head."""
    head, *rest = rows
    return html_page.text_table(head, rest)


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
