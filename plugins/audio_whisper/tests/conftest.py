"""Toy checkpoints in the hub's directory layout: two thin layers, Whisper's real lengths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

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

Toy = tuple[WhisperForConditionalGeneration, str]


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Toy]:
    """``toy(**config)`` -> transformers' model in eval, and the directory it is saved in."""
    made: dict[Any, Toy] = {}

    def make(**changes: Any) -> Toy:
        key = tuple(sorted(changes.items()))
        if key not in made:
            torch.manual_seed(5)
            model = WhisperForConditionalGeneration(WhisperConfig(**{**TOY, **changes})).eval()
            with torch.no_grad():
                for parameter in model.parameters():  # the positions among them
                    parameter.add_(0.1 * torch.randn_like(parameter))
            folder: Path = tmp_path_factory.mktemp("whisper")
            model.save_pretrained(folder)
            WhisperFeatureExtractor(feature_size=model.config.num_mel_bins).save_pretrained(folder)
            made[key] = model, str(folder)
        return made[key]

    return make
