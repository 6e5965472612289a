"""The tower's contract, with a toy checkpoint: `pytest --tinyllava-conformance=tinyllava-kit-audio-wav2vec2`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
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

from tinyllava_kit.components import Waveform
from tinyllava_kit.interfaces import Preprocessor, Tower
from tinyllava_kit.testing import AudioTowerContract

from .preprocessor import Wav2Vec2Preprocessor

CLASSES: dict[str, Any] = {
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
    "hubert": (HubertConfig, HubertModel),
    "wavlm": (WavLMConfig, WavLMModel),
}
NORMS: dict[str, dict[str, Any]] = {
    "group": {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False},
    "layer": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
}
TOY: dict[str, Any] = {
    "hidden_size": 22,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 29,
    "conv_dim": [13] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 11,
}
WINDOW, HOP, LEAST = 29, 320, 400  # features, samples


class Wav2Vec2Contract(AudioTowerContract):
    """Two thin layers with the real strides, in windows of 29 features."""

    other_options: ClassVar[Mapping[str, Any]] = {"layer": "1"}
    names_elsewhere: ClassVar[Mapping[str, str]] = {"gru_rel_pos_linear": "of WavLM"}
    min_samples, hop_samples, window_samples = LEAST, HOP, WINDOW * HOP
    window_tolerance = 0.1
    # Of transformers' model.
    architecture: ClassVar[str] = "wav2vec2"
    norm: ClassVar[str] = "group"
    changes: ClassVar[Mapping[str, Any]] = {}

    def toy_checkpoint(self, folder: Path) -> str:
        """With the feature extractor."""
        return save(toy_model(self.architecture, self.norm, **self.changes), folder)

    def build_with(self, checkpoint: str, options: Mapping[str, Any]) -> tuple[Tower, Preprocessor]:
        """With windows of toy size."""
        tower, preprocessor = super().build_with(checkpoint, options)
        return tower, windowed(preprocessor, WINDOW)

    def count(self, num_samples: int) -> int:
        """The last feature lies whole in the sound."""
        return (num_samples - LEAST) // HOP + 1

    def reference(self, item: Waveform) -> Tensor:
        """What transformers' model makes of each window of a sound that its feature extractor prepares, alone."""
        extractor = Wav2Vec2FeatureExtractor.from_pretrained(self.checkpoint, trust_remote_code=False)
        model = CLASSES[self.architecture][1].from_pretrained(self.checkpoint, trust_remote_code=False).eval()
        samples = extractor(item.samples, sampling_rate=item.rate_hz, return_tensors="pt")["input_values"]  # (1, S)
        starts = range(0, samples.shape[1] - LEAST + 1, WINDOW * HOP)
        windows = [samples[:, start : start + WINDOW * HOP + LEAST - HOP] for start in starts]
        with torch.no_grad():
            return torch.cat([model(window).last_hidden_state[0] for window in windows])  # (P, E)

    def without_windows(self, preprocessor: Preprocessor) -> Preprocessor:
        """One window, as long as can be."""
        return windowed(preprocessor, 10**6)


def windowed(preprocessor: Preprocessor, window_frames: int) -> Wav2Vec2Preprocessor:
    """The same with other windows."""
    return Wav2Vec2Preprocessor.from_settings({**preprocessor.settings(), "window_frames": window_frames})


def toy_model(kind: str = "wav2vec2", norm: str = "group", **changes: Any) -> PreTrainedModel:
    """A model of transformers in eval; each of its parameters changes the features."""
    config_class, model_class = CLASSES[kind]
    torch.manual_seed(5)
    model: PreTrainedModel = model_class(config_class(**{**TOY, **NORMS[norm], **changes})).eval()
    with torch.no_grad():
        for tensor in (*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())):
            tensor.add_(0.1 * torch.rand_like(tensor))
    return model


def save(model: PreTrainedModel, directory: Path, **extractor: Any) -> str:
    """Write a model as a hub repository holds it, with the settings of its feature extractor."""
    model.save_pretrained(directory)
    Wav2Vec2FeatureExtractor(**extractor).save_pretrained(directory)
    return str(directory)
