"""The licence of a checkpoint, as its model card says it."""

from __future__ import annotations

import os


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
