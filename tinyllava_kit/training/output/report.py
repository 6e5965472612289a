"""``run.html``: a stage on one page, to read and to send: curves, answers, parts, settings, command."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from ...checkpoints.card import last_loss
from ...core.conversation import ITEM, Conversation, Item
from ...files.origins import row_of
from ...pages.html import document, media, text_table
from .history import StageRecord

WIDTH, HEIGHT = 640, 220
COLOURS = ("#1f4e79", "#b4552d", "#3a7d44", "#7a4b94", "#8a8a1f", "#555555")
INLINE_BYTES = 300_000  # a larger file is named, not shown
REPORT_STYLE = """
pre { background: #f4f4f4; padding: .6rem; overflow-x: auto } svg { max-width: 100%; height: auto }
.sample { border: 1px solid #ccc; padding: .6rem; margin: .6rem 0 } .sample img { height: 8rem }
"""


@dataclass(frozen=True)
class Answered:
    """A conversation of the data, and what the trained model says where the data has the last answer."""

    conversation: Conversation
    said: str


def report(record: StageRecord, log: Sequence[Mapping[str, Any]], answered: Sequence[Answered]) -> str:
    """The page, with everything in it.

    Args:
        log: the Trainer's.
    """
    logged = [entry for entry in log if {"loss", "eval_loss"} & entry.keys()]
    keys = {key for entry in logged for key in entry}
    losses = sorted(key for key in keys if key in ("loss", "eval_loss") or key.startswith("loss_"))
    figures = sorted(key for key in keys if key.startswith("eval_") and not key.startswith(("eval_loss", "eval_score")))
    charts = {
        "loss": losses,
        "held-out rows": figures,
        "learning rate": ["learning_rate"],
        "tokens/s": ["tokens_per_second"],
    }
    body = [
        f"<h1>stage {html.escape(record.name)}</h1>",
        f"<p>{record.steps} steps, {timedelta(seconds=round(record.seconds))} on {record.device}, "
        f"{last_loss(record.loss)}</p><pre>{html.escape(record.command)}</pre>",
        "<h2>Curves</h2>",
        *(_curves(logged, columns, name) for name, columns in charts.items()),
        "<h2>Parts that learned</h2>",
        text_table(
            ["part", "mode", "parameters", "trained", "learning rate", "weight decay"],
            [
                [p.name, p.mode, f"{p.parameters:,}", f"{p.trained:,}", p.learning_rate, p.weight_decay]
                for p in record.parts
            ],
        ),
        "<h2>Answers of the trained model to rows of its data</h2>" if answered else "",
        *map(_sample, answered),
        f"<h2>Settings</h2><pre>{html.escape(json.dumps(record.recipe, indent=1))}</pre>",
    ]
    return document(f"stage {record.name}", "".join(body), REPORT_STYLE)


def _curves(log: Sequence[Mapping[str, Any]], keys: Sequence[str], name: str) -> str:
    """One chart of several columns of the log over steps."""
    lines = {key: [(entry["step"], entry[key]) for entry in log if key in entry] for key in keys}
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    left, right = (pick(x for x, _ in points) for pick in (min, max))
    low, high = (pick(y for _, y in points) for pick in (min, max))

    def place(x: float, y: float) -> str:
        across = 60 + (x - left) / max(right - left, 1) * (WIDTH - 80)
        return f"{across:.1f},{HEIGHT - 30 - (y - low) / max(high - low, 1e-12) * (HEIGHT - 50):.1f}"

    drawn = []
    for number, (key, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(place(x, y) for x, y in line)
        drawn.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='1.6'/>")
        if len(lines) > 1:
            drawn.append(f"<text x='{80 + 150 * number}' y='14' fill='{colour}'>{html.escape(key)}</text>")
    labels = [(f"{high:.3g}", 4, 26), (f"{low:.3g}", 4, HEIGHT - 30), (f"{left}", 60, HEIGHT - 8)]
    labels += [(f"{right} steps", WIDTH - 90, HEIGHT - 8), (name, 4, 14)]
    text = "".join(f"<text x='{x}' y='{y}' font-size='13'>{html.escape(said)}</text>" for said, x, y in labels)
    return f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' width='{WIDTH}'>{text}{''.join(drawn)}</svg>"


def _sample(answered: Answered) -> str:
    """A conversation with its items shown where they stand, and both answers."""
    items = iter(answered.conversation.items)
    turns = []
    for turn in answered.conversation.turns:
        first, *rest = turn.text.split(ITEM)
        text = html.escape(first) + "".join(_media(next(items)) + html.escape(piece) for piece in rest)
        turns.append(f"<p><b>{html.escape(turn.role)}</b> {text}</p>")
    name = html.escape(row_of(answered.conversation.name))
    said = f"<p><b>model</b> {html.escape(answered.said)}</p>"
    return f"<div class='sample'><small>{name}</small>{''.join(turns)}{said}</div>"


def _media(item: Item) -> str:
    """An item in the page itself where browsers can show it, else its name."""
    if not isinstance(item.source, str):
        return f"[{html.escape(item.modality)}]"
    file = Path(item.source)
    shown = media(file) if file.exists() and file.stat().st_size <= INLINE_BYTES else None
    return shown or f"[{html.escape(item.modality)} {html.escape(file.name)}]"
