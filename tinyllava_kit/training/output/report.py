"""``run.html``: a stage on one page, to read and to send: curves, answers, parts, settings, command."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from ...checkpoints.card import last_loss
from ...core.conversation import ITEM, Conversation, Item
from ...files.origins import row_of
from ...pages.media import Inline
from ...pages.templating import render
from .curves import log_charts
from .history import StageRecord, TrainedPart
from .shown_items import shown_item


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
    return render(
        "run.html",
        title=f"stage {record.name}",
        record=record,
        facts=f"{record.steps} steps, {timedelta(seconds=round(record.seconds))} on {record.device}, "
        f"{last_loss(record.loss)}",
        charts=log_charts(log),
        rows=[_row(part) for part in record.parts],
        answered=[_sample(each) for each in answered],
        settings=json.dumps(record.recipe, indent=1, ensure_ascii=False),
    )


def _row(part: TrainedPart) -> list[str]:
    counts = [f"{part.parameters:,}", f"{part.trained:,}"]
    return [part.name, part.mode, *counts, f"{part.learning_rate:g}", f"{part.weight_decay:g}"]


def _sample(answered: Answered) -> tuple[str, list[tuple[str, list[str | Inline]]], str]:
    """A conversation with its items shown where they stand, and what the model says."""
    items = iter(answered.conversation.items)
    turns = []
    for turn in answered.conversation.turns:
        first, *rest = turn.text.split(ITEM)
        pieces: list[str | Inline] = [first]
        for text in rest:
            pieces += [_media(next(items)), text]
        turns.append((turn.role, pieces))
    return row_of(answered.conversation.name), turns, answered.said


def _media(item: Item) -> str | Inline:
    """An item in the page itself where browsers can show it, else its name."""
    name = f" {Path(item.source).name}" if isinstance(item.source, str) else ""
    return shown_item(item) or f"[{item.modality}{name}]"
