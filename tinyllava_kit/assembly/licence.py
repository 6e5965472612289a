"""The licence of a checkpoint, as its model card says it."""

from __future__ import annotations

import os

from .assembly import ResolvedPart
from .saved_model import SavedModel, is_saved_model


def licence_of(part: ResolvedPart, kind: str, modality: str = "") -> str:
    """Under which a part's weights come: what a saved model notes of it, or else the checkpoint's model card."""
    if not part.checkpoint:
        return ""
    noted = (
        SavedModel(part.checkpoint).config.component(kind, modality).licence if is_saved_model(part.checkpoint) else ""
    )
    return noted or read_licence(part.checkpoint)


def read_licence(checkpoint: str) -> str:
    """The ``license:`` line of a local model card, or nothing; of a file, that of its folder."""
    from pathlib import Path

    path = Path(checkpoint)
    card = (path.parent if os.path.isfile(path) else path) / "README.md"
    if not os.path.isfile(card):
        return ""
    head = card.read_text(encoding="utf-8", errors="replace").split("---")
    lines = head[1].splitlines() if len(head) > 2 else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("license:")), "")
