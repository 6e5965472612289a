"""Toy checkpoints in the hub's directory layout, whose codebooks are filled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tinyllava_kit_speech_codec.contract import make_mimi, make_single_codebook
from transformers import NeuCodecFeatureExtractor, NeuCodecModel, PreTrainedModel, Xcodec2FeatureExtractor, Xcodec2Model

Toy = Callable[..., tuple[PreTrainedModel, str]]


def _maker(folder: Path, make: Callable[..., PreTrainedModel]) -> Toy:
    made: dict[Any, tuple[PreTrainedModel, str]] = {}

    def get(**changes: Any) -> tuple[PreTrainedModel, str]:
        key = repr(sorted(changes.items()))
        if key not in made:
            model = make(**changes)
            target = folder / str(len(made))
            model.save_pretrained(target)
            made[key] = model, str(target)
        return made[key]

    return get


@pytest.fixture(scope="session")
def mimi(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """``mimi(**config)`` -> transformers' model, and the directory it is saved in."""
    return _maker(tmp_path_factory.mktemp("mimi"), make_mimi)


def _single_codebook(folder: Path, kind: type[PreTrainedModel], extractor: Any) -> Toy:
    return _maker(folder, lambda **changes: make_single_codebook(kind, extractor, **changes))


@pytest.fixture(scope="session")
def xcodec2(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """As `mimi`."""
    return _single_codebook(tmp_path_factory.mktemp("xcodec2"), Xcodec2Model, Xcodec2FeatureExtractor())


@pytest.fixture(scope="session")
def neucodec(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """As `mimi`."""
    return _single_codebook(tmp_path_factory.mktemp("neucodec"), NeuCodecModel, NeuCodecFeatureExtractor())
