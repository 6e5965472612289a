"""The contract of `causal_lm`, on a toy: `pytest --tinyllava-conformance=tinyllava-kit-llm-hf`."""

from __future__ import annotations

from pathlib import Path

from tinyllava_kit.testing import LanguageModelContract, save_toy_llm


class CausalContract(LanguageModelContract):
    """A Llama, as any causal language model."""

    def toy_checkpoint(self, folder: Path) -> str:
        """Of two layers."""
        return str(save_toy_llm(folder))
