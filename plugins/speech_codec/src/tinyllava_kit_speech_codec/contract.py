"""The decoders' contracts: `pytest --tinyllava-conformance=tinyllava-kit-speech-codec`.

Toy checkpoints whose codebooks are filled from what their encoders make of sounds. A codec that was never trained gives
one code for everything: Mimi's codebooks are zeros, and what X-codec 2 and NeuCodec round lies in one cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
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
from tinyllava_kit.testing import HiddenDecoderContract, TokenDecoderContract

LOSSY = "a codec of sounds keeps what is heard of them, not the samples"
TALKER: dict[str, Any] = {"layers": 2, "width": 64, "heads": 4, "dropout": 0.0}
UNSEEN = {"max_ids": "it cuts an item that does not end, long after a toy does"}
OTHER_TALKER: dict[str, Any] = {"width": 32, "heads": 2, "layers": 3, "dropout": 0.3}

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
    """The values that are rounded, spread over the grid."""
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


def make_mimi(**changes: Any) -> MimiModel:
    """A toy Mimi whose sounds are within full scale."""
    torch.manual_seed(7)
    model = MimiModel(MimiConfig(**{**MIMI, **changes})).eval()
    fill_mimi(model)
    with torch.no_grad():
        model.decoder.decoder_seanet.layers[-1].conv.weight.mul_(0.03)
    return model


def make_single_codebook(kind: type[PreTrainedModel], extractor: Any, **changes: Any) -> PreTrainedModel:
    """A toy X-codec 2 or NeuCodec."""
    torch.manual_seed(7)
    semantic = Wav2Vec2BertConfig(**SEMANTIC)
    model = kind(kind.config_class(**{**SINGLE_CODEBOOK, "semantic_model_config": semantic, **changes})).eval()
    fill_single_codebook(model, extractor)
    return model


class _Mimi:
    """Five sounds of three lengths."""

    lossy: ClassVar[str] = LOSSY

    def toy_checkpoint(self, folder: Path) -> str:
        """As saved by transformers."""
        make_mimi().save_pretrained(folder)
        return str(folder)

    def items(self) -> Sequence[Waveform]:
        """At Mimi's toy rate."""
        return [sound(seed, 900 + 400 * (seed % 3), 8000) for seed in range(5)]


class MimiContract(_Mimi, TokenDecoderContract):
    """Three codebooks, one id at a step."""

    options: ClassVar[Mapping[str, Any]] = {"codebooks": 3}


class MimiTalkerContract(_Mimi, HiddenDecoderContract):
    """The same, by a small transformer."""

    options: ClassVar[Mapping[str, Any]] = {**TALKER, "codebooks": 3}
    other_options: ClassVar[Mapping[str, Any]] = OTHER_TALKER
    unseen_options: ClassVar[Mapping[str, str]] = UNSEEN


class _SingleCodebook:
    """Five sounds of three lengths."""

    lossy: ClassVar[str] = LOSSY
    model: ClassVar[tuple[Any, Any]]

    def toy_checkpoint(self, folder: Path) -> str:
        """As saved by transformers."""
        kind, extractor = self.model
        make_single_codebook(kind, extractor()).save_pretrained(folder)
        return str(folder)

    def items(self) -> Sequence[Waveform]:
        """At the codec's rate."""
        return [sound(seed, 3000 + 1500 * (seed % 3), 16_000) for seed in range(5)]


class Xcodec2Contract(_SingleCodebook, TokenDecoderContract):
    """X-codec 2."""

    model = (Xcodec2Model, Xcodec2FeatureExtractor)


class NeuCodecContract(_SingleCodebook, TokenDecoderContract):
    """NeuCodec."""

    model = (NeuCodecModel, NeuCodecFeatureExtractor)


class _SingleCodebookTalker(_SingleCodebook, HiddenDecoderContract):
    """By a small transformer."""

    options: ClassVar[Mapping[str, Any]] = TALKER
    other_options: ClassVar[Mapping[str, Any]] = OTHER_TALKER
    unseen_options: ClassVar[Mapping[str, str]] = UNSEEN


class Xcodec2TalkerContract(_SingleCodebookTalker):
    """X-codec 2."""

    model = Xcodec2Contract.model


class NeuCodecTalkerContract(_SingleCodebookTalker):
    """NeuCodec."""

    model = NeuCodecContract.model
