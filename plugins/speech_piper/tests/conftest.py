"""Toy voices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tinyllava_kit_speech_piper.contract import save_voice


@pytest.fixture
def voice(tmp_path: Path) -> Callable[..., str]:
    """``voice(**changes)`` -> the file of a toy voice."""
    return lambda **changes: save_voice(tmp_path, **changes)
