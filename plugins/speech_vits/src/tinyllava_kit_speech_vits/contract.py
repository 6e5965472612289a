"""The decoder's contract, with a toy checkpoint: `pytest --tinyllava-conformance=tinyllava-kit-speech-vits`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import VitsConfig, VitsModel, VitsTokenizer

from tinyllava_kit.testing import TextDecoderContract

VOCABULARY = {character: index for index, character in enumerate("_abcdefghilmnoprstuvwy' ")}

TOY = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "ffn_dim": 23,
    "flow_size": 12,
    "spectrogram_bins": 9,
    "upsample_initial_channel": 16,
    "upsample_rates": [4, 2],
    "upsample_kernel_sizes": [8, 4],
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3]],
    "duration_predictor_filter_channels": 14,
    "depth_separable_num_layers": 1,
    "duration_predictor_num_flows": 2,
    "prior_encoder_num_flows": 2,
    "prior_encoder_num_wavenet_layers": 2,
    "posterior_encoder_num_wavenet_layers": 1,
    "sampling_rate": 8000,
    "layerdrop": 0.5,
}


class VitsContract(TextDecoderContract):
    """A voice of two thin layers, with two speakers."""

    other_options: ClassVar[Mapping[str, Any]] = {"speaker": 1, "speed": 2.0}

    def toy_checkpoint(self, folder: Path) -> str:
        """With its tokenizer."""
        save_toy(folder, num_speakers=2, speaker_embedding_size=6)
        return str(folder)


def save_toy(folder: Path, *, phonemize: bool = False, **changes: Any) -> tuple[VitsModel, VitsTokenizer]:
    """Write a toy voice to a folder; returns transformers' model in eval, and its tokenizer."""
    torch.manual_seed(5)
    model = VitsModel(VitsConfig(**{**TOY, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        model.decoder.conv_post.weight.mul_(0.02)  # not as loud as can be
    (folder / "vocab.json").write_text(json.dumps(VOCABULARY))
    tokenizer = VitsTokenizer(str(folder / "vocab.json"), pad_token="_", unk_token="_", phonemize=phonemize)
    for part in (model, tokenizer):
        part.save_pretrained(folder)
    return model, tokenizer
