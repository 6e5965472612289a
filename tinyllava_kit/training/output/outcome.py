"""The directory that a stage leaves: a model, and the record of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...checkpoints.adapters import write_adapters
from ...checkpoints.card import read_history, write_card, write_history
from ...core.conversation import ITEM, Conversation
from ...errors import KitError
from ...files.atomic import atomic_directory
from ...files.origins import said_of
from ...files.writing import write_file, write_json
from ...inference.answering import answer
from ...model.modeling import TinyLlavaForConditionalGeneration
from ...processing.processor import TinyLlavaProcessor
from ..trained_parts import OpenParts
from .history import StageRecord
from .recorded_settings import write_left
from .report import Answered, report

REPORT_FILE, LOG_FILE = "run.html", "log.json"
SHOWN, SHOWN_TOKENS = 3, 64


def write_outcome(
    target: Path,
    source: Path,
    model: TinyLlavaForConditionalGeneration,
    processor: TinyLlavaProcessor,
    parts: OpenParts,
    settings: Mapping[str, Any],
    record: StageRecord,
    log: Sequence[Mapping[str, Any]],
    shown: Sequence[Conversation] = (),
) -> None:
    """Model, processor, ``log.json``, ``stage.json``, ``training.json``; for a reader ``run.html`` and ``README.md``.

    Args:
        source: the directory that the stage began with.
        parts: of the model; their adapters are merged, and kept beside where the recipe says so.
        settings: see `settings_of`.
        log: the Trainer's.
        shown: conversations whose last answer the page compares with the model's.

    Raises:
        KitError: it cannot be written; nothing is there then.
    """
    with atomic_directory(target) as stage:
        write_adapters({name: parts.adapters[name] for name in parts.kept}, stage)
        parts.merge()
        model.save_pretrained(stage)
        processor.save_pretrained(stage)
        write_json(stage / LOG_FILE, list(log))
        write_left(settings, stage)
        write_history(stage, [*read_history(source), asdict(record)])
        page = report(record, log, [Answered(each, _said(model, processor, each)) for each in shown])
        write_file(stage / REPORT_FILE, page)
        write_card(stage, name=target.name)


def _said(model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, conversation: Conversation) -> str:
    """What the model answers where the conversation has its last answer."""
    turns = conversation.turns[:-1]
    items = conversation.items[: sum(turn.text.count(ITEM) for turn in turns)]
    asked = Conversation(turns, items, conversation.name)
    try:
        (said,) = answer(model.eval(), processor, [asked], max_new_tokens=SHOWN_TOKENS)
    except KitError as error:
        return f"({said_of(conversation.name, str(error))})"
    return said
