"""Toy checkpoints in the hub's directory layout: two layers, thin, with the real strides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    HubertConfig,
    HubertModel,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

CLASSES = {
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
    "hubert": (HubertConfig, HubertModel),
    "wavlm": (WavLMConfig, WavLMModel),
}
NORMS = {
    "group": {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False},
    "layer": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
}
TOY = {
    "hidden_size": 22,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 29,
    "conv_dim": [13] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 11,
}


@pytest.fixture(scope="session")
def save() -> Callable[..., str]:
    """``save(model, directory, **settings of the feature extractor)`` as a hub repository holds them."""

    def write(model: PreTrainedModel, directory: Path, **extractor: Any) -> str:
        model.save_pretrained(directory)
        Wav2Vec2FeatureExtractor(**extractor).save_pretrained(directory)
        return str(directory)

    return write


@pytest.fixture(scope="session")
def toy(
    tmp_path_factory: pytest.TempPathFactory, save: Callable[..., str]
) -> Callable[..., tuple[PreTrainedModel, str]]:
    """``toy("hubert", "group", **config)`` -> transformers' model in eval, and the directory it is saved in."""
    made: dict[Any, tuple[PreTrainedModel, str]] = {}

    def make(kind: str = "wav2vec2", norm: str = "group", **changes: Any) -> tuple[PreTrainedModel, str]:
        key = (kind, norm, *sorted(changes.items()))
        if key not in made:
            config_class, model_class = CLASSES[kind]
            torch.manual_seed(5)
            model = model_class(config_class(**{**TOY, **NORMS[norm], **changes})).eval()
            with torch.no_grad():
                for tensor in (*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())):
                    tensor.add_(0.1 * torch.rand_like(tensor))
            made[key] = model, save(model, tmp_path_factory.mktemp(f"{kind}-{norm}"))
        return made[key]

    return make
