"""The page of a demo: cards of what was asked and answered, figures, curves of training, and what to type next."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tinyllava_kit.pages import Inline, LineChart, inline_file, render
from tinyllava_kit.training import log_charts

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, kw_only=True)
class Card:
    """One question: what it is about, what the model said, the truth.

    beside: what the model said otherwise, by when: "with another picture".
    """

    media: Sequence[Inline]
    said: str
    truth: str
    is_right: bool
    asked: str = ""
    beside: Mapping[str, str] = field(default_factory=dict)


def write_demo_page(
    path: Path,
    *,
    heading: str,
    lead: str = "",
    cards: Sequence[Card],
    cards_title: str,
    cards_note: str = "",
    rows: Sequence[Sequence[str]],
    table_title: str,
    bars: Mapping[str, Mapping[str, float]] | None = None,
    charts: Sequence[LineChart] = (),
    commands: Sequence[str] = (),
) -> None:
    """Write the page as one file.

    Args:
        lead: a sentence or two on what was made. cards_note: how the cards were chosen.
        rows: of the table of figures, its head first.
        bars: shares from 0 to 1 by name, under a title; the first is the one that the others are compared with.
        commands: what to type next.
    """
    page = render(
        "demo.html",
        templates=TEMPLATES,
        title=heading,
        heading=heading,
        lead=lead,
        cards=cards,
        cards_title=cards_title,
        cards_note=cards_note,
        rows=[list(row) for row in rows],
        table_title=table_title,
        bars=bars or {},
        charts=charts,
        commands=commands,
    )
    path.write_text(page, encoding="utf-8")


def shown(*files: Path) -> list[Inline]:
    """Pictures and sounds, in the page itself."""
    return [each for each in map(inline_file, files) if each is not None]


def curves(runs: Path) -> list[LineChart]:
    """The losses and held-out figures of the stages under `runs`, in the order in which they were run."""
    logs = sorted(runs.glob("*/log.json"), key=lambda path: path.stat().st_mtime)
    stages = {file.parent.name: json.loads(file.read_text(encoding="utf-8")) for file in logs}
    return [chart for name, log in stages.items() for chart in log_charts(log, of=f"{name}: ", rates=False)]
