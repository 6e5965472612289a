"""``run.html``: a stage on one page, to read and to send: curves, answers, parts, settings, command."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from ...checkpoints.card import last_loss
from ...core.conversation import ITEM, Conversation, Item
from ...files.origins import row_of
from ...pages.html import document, media, text_table
from .history import StageRecord

WIDTH, HEIGHT = 720, 280
LEFT, TOP, BOTTOM = 70, 12, 44  # of a chart, outside its axes
COLOURS = ("#3b82c4", "#d9692e", "#4a9c57", "#a066c2", "#a8a12b", "#888888")  # that read on white and on black
INLINE_BYTES = 300_000  # a larger file is named, not shown
REPORT_STYLE = """
pre { background: light-dark(#f4f4f4, #25282a); padding: .6rem; overflow-x: auto }
svg { max-width: 100%; height: auto } svg text { fill: currentColor; font-size: 13px } .grid { stroke: var(--line) }
h3 { margin-bottom: 0 } .legend { margin: .2rem 0 }
.sample { border: 1px solid var(--line); padding: .6rem; margin: .6rem 0 } .sample img { height: 8rem }
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
        "loss by group of ids": sorted(key for key in keys if key.startswith("ids_loss_")),
        "share of ids that were the likeliest": sorted(key for key in keys if key.startswith("ids_right_")),
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
    """One chart of several columns of the log over steps; nothing where the log has none of them."""
    lines = {key: [(entry["step"], entry[key]) for entry in log if key in entry] for key in keys}
    lines = {key: line for key, line in lines.items() if line}
    if not lines:
        return ""
    steps, values = zip(*(point for line in lines.values() for point in line), strict=True)
    across, up = ticks(min(steps), max(steps)), ticks(min(values), max(values))

    def place(x: float, y: float) -> tuple[float, float]:
        right = (x - across[0]) / (across[-1] - across[0]) * (WIDTH - LEFT - 20)
        return LEFT + right, HEIGHT - BOTTOM - (y - up[0]) / (up[-1] - up[0]) * (HEIGHT - BOTTOM - TOP)

    drawn = [_axis_lines(across, up, place)]
    for number, line in enumerate(lines.values()):
        colour, points = COLOURS[number % len(COLOURS)], [place(x, y) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        drawn.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='1.8'/>")
        drawn += [f"<circle cx='{x:.1f}' cy='{y:.1f}' r='2.5' fill='{colour}'/>" for x, y in points[:: len(points)]]
    legend = "".join(
        f"<span style='color: {COLOURS[number % len(COLOURS)]}'>&#9632;</span> {html.escape(key)} "
        for number, key in enumerate(lines if len(lines) > 1 else ())
    )
    size = f"viewBox='0 0 {WIDTH} {HEIGHT}' width='{WIDTH}'"
    return f"<h3>{html.escape(name)}</h3><p class='legend'>{legend}</p><svg {size}>{''.join(drawn)}</svg>"


def _axis_lines(
    across: Sequence[float], up: Sequence[float], place: Callable[[float, float], tuple[float, float]]
) -> str:
    """A line at each tick of the values, and the ticks' numbers; the steps' below."""
    drawn = []
    for value in up:
        x, y = place(across[0], value)
        drawn.append(f"<line class='grid' x1='{x:.1f}' y1='{y:.1f}' x2='{WIDTH - 20}' y2='{y:.1f}'/>")
        drawn.append(f"<text x='{x - 8:.1f}' y='{y + 4:.1f}' text-anchor='end'>{value:g}</text>")
    for step in across:
        x, y = place(step, up[0])
        drawn.append(f"<text x='{x:.1f}' y='{y + 20:.1f}' text-anchor='middle'>{step:g}</text>")
    drawn.append(f"<text x='{WIDTH - 20}' y='{HEIGHT - 4}' text-anchor='end'>steps</text>")
    return "".join(drawn)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from the one below `low` to the one above `high`, evenly spaced.

    Example:
        >>> ticks(0.37, 2.2)
        [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
        >>> ticks(3, 3)
        [2.0, 3.0, 4.0]
    """
    if not high > low:
        low, high = low - (abs(low) / 2 or 1), high + (abs(high) / 2 or 1)
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (power * factor) <= most - 1)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.10g}") for number in range(first, last + 1)]


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
