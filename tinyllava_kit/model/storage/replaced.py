"""What of a directory belongs to the weights in it, and goes when others take their place. Light."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...files.atomic import atomic_directory

CARD_FILE = "README.md"
CARD_MARK = "<!-- written by tinyllava_kit from what is in this directory; remove this line to keep your own text -->"

# What training, evaluation and the card say of the weights, or need of them.
_RECORDS = ("stage.json", "training.json", "evaluations.json", "log.json", "run.html", "skipped.jsonl")
_LEFT = ("checkpoints", "adapters")
# What else makes a model, as transformers names it.
_MODEL = (
    *("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", "generation_config.json"),
    *("processor_config.json", "preprocessor_config.json", "chat_template.*", "additional_chat_templates"),
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model"),
)


@contextmanager
def atomic_model(target: str | os.PathLike[str]) -> Iterator[Path]:
    """As `atomic_directory`, for a whole model with all that it needs: of another one that is there nothing stays.

    Files that are nobody's, a user's own notes, do.
    """
    with atomic_directory(target, without=(*_MODEL, *_records(Path(target)))) as stage:
        yield stage


@contextmanager
def atomic_weights(target: str | os.PathLike[str]) -> Iterator[Path]:
    """As `atomic_directory`, for weights: of others that are there their history, figures and card go.

    What lies beside them, a tokenizer, stays, and all of it where the weights are the same.
    """
    without: list[str] = []
    with atomic_directory(target, without=without) as stage:
        yield stage
        if _has_other_weights(Path(target), stage):
            without += _records(Path(target))


def save_together(target: str | os.PathLike[str], *parts: Any) -> None:
    """Write what each part's ``save_pretrained`` writes, a model and its processor, as an `atomic_model`.

    Raises:
        KitError: as `atomic_directory`, or a part that cannot be saved.
    """
    with atomic_model(target) as stage:
        for part in parts:
            part.save_pretrained(stage)


def _records(target: Path) -> list[str]:
    card = target / CARD_FILE
    written = card.is_file() and CARD_MARK in card.read_text(encoding="utf-8", errors="replace")
    return [*_RECORDS, *_LEFT, *([CARD_FILE] if written else [])]


def _has_other_weights(target: Path, stage: Path) -> bool:
    old, new = ({file.name: file for file in folder.glob("*.safetensors")} for folder in (target, stage))
    same = new.keys() == old.keys() and all(filecmp.cmp(new[name], old[name], shallow=False) for name in new)
    return bool(old) and not same
