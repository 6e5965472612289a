"""Toy VITS checkpoints in the hub's directory layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tinyllava_kit_speech_vits.contract import save_toy
from transformers import VitsModel, VitsTokenizer

Toy = tuple[VitsModel, VitsTokenizer, str]


@pytest.fixture
def toy(tmp_path: Path) -> Callable[..., Toy]:
    """``toy(**config)`` -> transformers' model in eval, its tokenizer, and the directory they are saved in."""

    def make(**changes: Any) -> Toy:
        folder = tmp_path / "vits"
        folder.mkdir(exist_ok=True)
        return *save_toy(folder, **changes), str(folder)

    return make
