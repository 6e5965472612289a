"""Toy checkpoints in the hub's directory layout, whose codebooks are filled from what their encoders make of sounds.

A codec that was never trained gives one code for everything: Mimi's codebooks are zeros, and what X-codec 2 and
NeuCodec round lies in one cell.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    MimiConfig,
    MimiModel,
    NeuCodecFeatureExtractor,
    NeuCodecModel,
    PreTrainedModel,
    Wav2Vec2BertConfig,
    Xcodec2FeatureExtractor,
    Xcodec2Model,
)

from tinyllava_kit.components import Waveform

MIMI = {
    "sampling_rate": 8000,
    "hidden_size": 24,
    "num_filters": 2,
    "upsampling_ratios": [5, 4, 4],
    "codebook_size": 16,
    "codebook_dim": 12,
    "vector_quantization_hidden_dimension": 12,
    "num_quantizers": 5,
    "num_hidden_layers": 2,
    "intermediate_size": 40,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "sliding_window": 9,
    "upsample_groups": 24,
    "layer_scale_initial_scale": 0.5,
}

SINGLE_CODEBOOK = {
    "hidden_size": 64,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "encoder_hidden_size": 2,
    "quantization_dim": 80,
    "quantization_levels": [4, 4, 3],
}
SEMANTIC = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "feature_projection_input_dim": 160,
    "conv_depthwise_kernel_size": 3,
}


def sound(seed: int, count: int, rate_hz: int) -> Waveform:
    """A glide through changing noise."""
    chance = np.random.default_rng(seed)
    at = np.arange(count) / rate_hz
    pitch = np.cumsum(chance.uniform(80, 400) * (1 + chance.uniform(-1, 4) * at)) / rate_hz
    samples = np.sign(np.sin(2 * np.pi * pitch)) * 0.4 + chance.standard_normal(count) * np.linspace(0, 0.4, count)
    return Waveform((samples * 0.7).clip(-1, 1).astype(np.float32), rate_hz, f"sound {seed}")


@torch.no_grad()
def fill_mimi(model: MimiModel) -> None:
    """Books of residuals, each codebook behind the ones before it."""
    samples = torch.from_numpy(sound(99, 24_000, model.config.sampling_rate).samples)
    latents = model.encoder(samples[None, None]).latents
    for part in (
        model.quantizer.semantic_residual_vector_quantizer,
        model.quantizer.acoustic_residual_vector_quantizer,
    ):
        residual = part.input_proj(latents)  # (1, D, F)
        for layer in part.layers:
            rows = residual[0].T  # (F, D)
            chosen = torch.randperm(len(rows))[: model.config.codebook_size]
            layer.codebook.embed_sum.copy_(rows[chosen])
            layer.codebook._embed = None
            residual = residual - layer.decode(layer.encode(residual))


@torch.no_grad()
def fill_single_codebook(model: Xcodec2Model | NeuCodecModel, extractor: Any) -> None:
    """What is rounded, spread over the grid."""
    seen: list[Tensor] = []
    hook = model.quantizer.project_in.register_forward_hook(lambda _, __, out: seen.append(out.flatten(0, 1)))
    samples = sound(99, 48_000, 16_000).samples
    model.encode(**extractor(samples, sampling_rate=16_000, return_tensors="pt"))
    hook.remove()
    numbers = torch.cat(seen)  # (F, levels)
    mean, spread = numbers.mean(0), numbers.std(0) / 1.3
    project = model.quantizer.project_in
    project.bias.copy_((project.bias - mean) / spread)
    project.weight.div_(spread[:, None])


Toy = Callable[..., tuple[PreTrainedModel, str]]


def _maker(folder: Path, make: Callable[..., PreTrainedModel]) -> Toy:
    made: dict[Any, tuple[PreTrainedModel, str]] = {}

    def get(**changes: Any) -> tuple[PreTrainedModel, str]:
        key = repr(sorted(changes.items()))
        if key not in made:
            torch.manual_seed(7)
            model = make(**changes).eval()
            target = folder / str(len(made))
            model.save_pretrained(target)
            made[key] = model, str(target)
        return made[key]

    return get


@pytest.fixture(scope="session")
def mimi(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """``mimi(**config)`` -> transformers' model, and the directory it is saved in."""

    def make(**changes: Any) -> MimiModel:
        model = MimiModel(MimiConfig(**{**MIMI, **changes})).eval()
        fill_mimi(model)
        with torch.no_grad():
            model.decoder.decoder_seanet.layers[-1].conv.weight.mul_(0.03)  # within full scale
        return model

    return _maker(tmp_path_factory.mktemp("mimi"), make)


def _single_codebook(folder: Path, kind: type[PreTrainedModel], extractor: Any) -> Toy:
    def make(**changes: Any) -> PreTrainedModel:
        semantic = Wav2Vec2BertConfig(**SEMANTIC)
        model = kind(kind.config_class(**{**SINGLE_CODEBOOK, "semantic_model_config": semantic, **changes})).eval()
        fill_single_codebook(model, extractor)
        return model

    return _maker(folder, make)


@pytest.fixture(scope="session")
def xcodec2(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """As `mimi`."""
    return _single_codebook(tmp_path_factory.mktemp("xcodec2"), Xcodec2Model, Xcodec2FeatureExtractor())


@pytest.fixture(scope="session")
def neucodec(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """As `mimi`."""
    return _single_codebook(tmp_path_factory.mktemp("neucodec"), NeuCodecModel, NeuCodecFeatureExtractor())
