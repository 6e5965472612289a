"""Loading a model directory: the model and its processor."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from tinyllava_kit import TinyLlavaForConditionalGeneration, TinyLlavaProcessor

from ..core.checkpoint import read_pretrained
from ..core.errors import KitError


def load_model(
    directory: str | os.PathLike[str], *, dtype: torch.dtype | str = "auto"
) -> tuple[TinyLlavaForConditionalGeneration, TinyLlavaProcessor]:
    """A saved model and its processor, from a local directory or a hub name.

    Raises:
        KitError: not a model directory; names what is missing.
    """
    path = Path(directory)
    if path.is_dir() and not (path / "config.json").exists():
        raise KitError(f"{str(directory)!r} is not a model directory: it has no config.json")
    if not path.exists() and "/" not in str(directory):
        raise KitError(f"no model directory {str(directory)!r}; give an existing one, or a hub name (org/name)")
    processor = TinyLlavaProcessor.from_pretrained(str(directory))
    return read_pretrained(TinyLlavaForConditionalGeneration, str(directory), dtype=dtype), processor
