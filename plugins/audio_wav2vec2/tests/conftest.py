"""Toy checkpoints in the hub's directory layout: two layers, thin, with the real strides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tinyllava_kit_audio_wav2vec2 import contract
from transformers import PreTrainedModel


@pytest.fixture(scope="session")
def save() -> Callable[..., str]:
    """``save(model, directory, **settings of the feature extractor)`` as a hub repository holds them."""
    return contract.save


@pytest.fixture(scope="session")
def toy(
    tmp_path_factory: pytest.TempPathFactory, save: Callable[..., str]
) -> Callable[..., tuple[PreTrainedModel, str]]:
    """``toy("hubert", "group", **config)`` -> transformers' model in eval, and the directory it is saved in."""
    made: dict[Any, tuple[PreTrainedModel, str]] = {}

    def make(kind: str = "wav2vec2", norm: str = "group", **changes: Any) -> tuple[PreTrainedModel, str]:
        key = (kind, norm, *sorted(changes.items()))
        if key not in made:
            model = contract.toy_model(kind, norm, **changes)
            made[key] = model, save(model, tmp_path_factory.mktemp(f"{kind}-{norm}"))
        return made[key]

    return make
