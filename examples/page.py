"""What the demos' pages are made of: a document in one file, a table, the loss curves."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt

from tinyllava_kit.pages import html as html_page

INK = "#010203"  # what matplotlib draws lines and words in; the page's own colour takes its place
LINE = "#040506"  # of curves

STYLE = """
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1rem }
.card { border: 1px solid var(--line); border-radius: .4rem; padding: .6rem } .card p { margin: .4rem 0 }
.card img { width: 8rem; image-rendering: pixelated } .card audio { width: 100% } .card small { opacity: .75 }
.wrong { border: 2px solid light-dark(#c00, #f66) }
.bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: .25rem .8rem; align-items: center }
.bars i { display: block; height: 1.1rem; background: var(--mark) } .bars .control i { opacity: .45 }
pre { border: 1px solid var(--line); border-radius: .4rem; padding: .6rem; overflow-x: auto }
svg { max-width: 100%; height: auto }
"""


def document(title: str, heading: str, body: str) -> str:
    """A whole HTML page; `body` is HTML."""
    return html_page.document(title, f"<h1>{heading}</h1>{body}", STYLE)


def card(
    media: str, said: str, truth: str, *, asked: str = "", right: bool, beside: Mapping[str, str] | None = None
) -> str:
    """One question: what it is about (HTML), the question, what the model said, the truth.

    Args:
        beside: what the model said otherwise, by when: "with another picture".
    """
    mark = "" if right else " wrong"
    question = f"{html.escape(asked)}<br>" if asked else ""
    others = "".join(f"<br><small>{html.escape(f'{when}: {text}')}</small>" for when, text in (beside or {}).items())
    return (
        f"<div class='card{mark}'>{media}<p>{question}<b>{html.escape(said)}</b> "
        f"(truth: {html.escape(truth)}){others}</p></div>"
    )


def bars(title: str, shares: Mapping[str, float]) -> str:
    """Shares from 0 to 1 as horizontal bars; the first is the one that the others are compared with."""
    rows = ""
    for number, (name, value) in enumerate(shares.items()):
        kind = "control" if number else "given"
        rows += f"<span>{html.escape(name)}</span><span class={kind}><i style='width:{value:.1%}'></i></span>"
        rows += f"<span>{value:.3f}</span>"
    return f"<h3>{html.escape(title)}</h3><div class=bars>{rows}</div>"


def shown(file: Path) -> str:
    """A picture or a sound, in the page itself."""
    return html_page.media(file) or ""


def table(rows: Sequence[Sequence[str]]) -> str:
    """The first row is the head."""
    head, *rest = rows
    return html_page.text_table(head, rest)


def curves(runs: Path) -> str:
    """The losses of the stages under `runs`, in the order in which they were run, as one SVG in the page's colours."""
    logs = sorted(runs.glob("*/log.json"), key=lambda path: path.stat().st_mtime)
    colours = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    with plt.rc_context({**colours, "font.size": 11}):
        figure, axes = plt.subplots(1, len(logs), figsize=(3.2 * len(logs), 3), layout="constrained", squeeze=False)
        for axis, log in zip(axes[0], logs, strict=True):
            _draw(axis, json.loads(log.read_text(encoding="utf-8")), log.parent.name)
        axes[0][0].set_ylabel("loss")
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True)
        plt.close(figure)
    drawn = out.getvalue()[out.getvalue().index("<svg") :]
    return drawn.replace(INK, "currentColor").replace(LINE, "var(--mark)")


def _draw(axis: plt.Axes, entries: list[dict[str, float]], title: str) -> None:
    points = [(entry["step"], entry["loss"]) for entry in entries if "loss" in entry]
    axis.plot(*zip(*points, strict=True), color=LINE, marker="o", markersize=3)
    axis.set_title(title)
    axis.set_xlabel("step")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
