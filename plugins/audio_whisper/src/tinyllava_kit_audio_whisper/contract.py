"""The tower's contract, with a toy checkpoint: `pytest --tinyllava-conformance=tinyllava-kit-audio-whisper`.

Whisper states that a window's features are its own, not those of the whole sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperModel

from tinyllava_kit.components import Waveform
from tinyllava_kit.testing import AudioTowerContract

HOP, WINDOW = 320, 29  # samples of a feature, features of a window
TOY = {
    "vocab_size": 31,
    "d_model": 22,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 29,
    "decoder_ffn_dim": 23,
    "max_target_positions": 11,
    "num_mel_bins": 17,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "begin_suppress_tokens": None,
}


class WhisperContract(AudioTowerContract):
    """Two thin layers with Whisper's real lengths, and every kind of dropout; windows of 29 features."""

    options: ClassVar[Mapping[str, Any]] = {"window_seconds": WINDOW * HOP / 16_000}
    other_options: ClassVar[Mapping[str, Any]] = {"layer": "1"}
    min_samples, hop_samples, window_samples = 1, HOP, WINDOW * HOP
    window_tolerance = None

    def toy_checkpoint(self, folder: Path) -> str:
        """A whole Whisper with its feature extractor."""
        dropout = {"dropout": 0.3, "attention_dropout": 0.3, "activation_dropout": 0.3, "encoder_layerdrop": 0.5}
        save_toy(folder, **dropout)
        return str(folder)

    def count(self, num_samples: int) -> int:
        """Windows are whole, so that the last feature reaches behind the sound."""
        return -(-num_samples // HOP)

    def reference(self, item: Waveform) -> Tensor:
        """What transformers' encoder, with its first positions alone, makes of each window."""
        extractor = WhisperFeatureExtractor.from_pretrained(self.checkpoint, trust_remote_code=False)
        encoder: Any = WhisperModel.from_pretrained(self.checkpoint, trust_remote_code=False).eval().encoder
        encoder.config.max_source_positions = WINDOW
        encoder.embed_positions = nn.Embedding.from_pretrained(encoder.embed_positions.weight[:WINDOW])
        found = []
        for window in torch.tensor(item.samples).split(WINDOW * HOP):
            given = {"sampling_rate": item.rate_hz, "max_length": WINDOW * HOP, "return_tensors": "pt"}
            mels = extractor(window.numpy(), **given)["input_features"]  # (1, M, 2 * WINDOW)
            with torch.no_grad():
                found.append(encoder(mels).last_hidden_state[0, : self.count(len(window))])
        return torch.cat(found)  # (P, E)


def save_toy(folder: Path, **changes: Any) -> WhisperForConditionalGeneration:
    """Write a toy Whisper and its feature extractor to a folder; returns transformers' model in eval."""
    torch.manual_seed(5)
    model = WhisperForConditionalGeneration(WhisperConfig(**{**TOY, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # the positions among them
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=model.config.num_mel_bins).save_pretrained(folder)
    return model
