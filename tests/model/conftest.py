"""A model that reads pictures, saved with rows to learn, and loaded anew for each test that changes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import toys
from tinyllava_kit import TinyLlavaForConditionalGeneration, TinyLlavaProcessor


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, ``model``, beside ``rows.json`` and the LLM that it is made of, ``llm``."""
    folder = tmp_path_factory.mktemp("saved")
    toys.picture_rows(folder)
    return toys.save_picture_model(folder)


@pytest.fixture
def made(saved: Path):
    """The model and its processor."""
    return TinyLlavaForConditionalGeneration.from_pretrained(saved), TinyLlavaProcessor.from_pretrained(saved)
