"""The sizes of SmolLM2-135M, as transformers names them: of LLMs with random weights that are measured."""

from __future__ import annotations

from collections.abc import Mapping

from .words import SPECIAL

WORDS = 49_152 - len(SPECIAL)
SIZES: Mapping[str, int] = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
}
