"""Toy checkpoints in the hub's directory layout: two thin layers, Whisper's real lengths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tinyllava_kit_audio_whisper.contract import save_toy
from transformers import WhisperForConditionalGeneration

Toy = tuple[WhisperForConditionalGeneration, str]


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Toy]:
    """``toy(**config)`` -> transformers' model in eval, and the directory it is saved in."""
    made: dict[Any, Toy] = {}

    def make(**changes: Any) -> Toy:
        key = tuple(sorted(changes.items()))
        if key not in made:
            folder: Path = tmp_path_factory.mktemp("whisper")
            made[key] = save_toy(folder, **changes), str(folder)
        return made[key]

    return make
