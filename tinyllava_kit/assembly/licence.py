"""The licence of a checkpoint, as its model card says it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import yaml

_BORDER = "---"  # the lines around what a card says to programs


def read_licence(checkpoint: str) -> str:
    """The ``license`` of a local model card, or nothing; of a file, that of its folder."""
    path = Path(checkpoint)
    card = (path.parent if os.path.isfile(path) else path) / "README.md"
    if not os.path.isfile(card):
        return ""
    first, *rest = [*card.read_text(encoding="utf-8-sig", errors="replace").splitlines(), ""]
    if first.rstrip() != _BORDER or not any(line.rstrip() == _BORDER for line in rest):
        return ""
    return _licence_of(list(takewhile(lambda line: line.rstrip() != _BORDER, rest)))


def _licence_of(head: Sequence[str]) -> str:
    """That of the line that says it, which is read alone: the others may hold anything."""
    line = next((line for line in head if line.startswith("license:")), "")
    try:
        said = yaml.safe_load(line)["license"] if line else ""
    except yaml.YAMLError:
        return ""
    return said if isinstance(said, str) else ""
