"""The families of language models that old LLaVA-like checkpoints are made with, and Qwen3.

The networks are transformers' own. Each makes its logits with its head and nothing else, as `LanguageModel.logits`
does. What differs is the padding token, which is that of TinyLLaVA_Factory.
"""

from __future__ import annotations

from typing import ClassVar

from transformers import PreTrainedTokenizerBase

from tinyllava_kit.interfaces import LanguageModel


class _PadsWithUnknown(LanguageModel):
    """Pads with the unknown token, also where the tokenizer has a padding token of its own."""

    @classmethod
    def read_tokenizer(cls, checkpoint: str) -> PreTrainedTokenizerBase:
        tokenizer = super().read_tokenizer(checkpoint)
        if tokenizer.unk_token is not None:
            tokenizer.pad_token = tokenizer.unk_token
        return tokenizer


class PhiLanguageModel(_PadsWithUnknown):
    """Phi-1, 1.5 and 2 (Gunasekar et al., 2023); its head has a bias."""

    model_types: ClassVar[tuple[str, ...]] = ("phi",)


class GemmaLanguageModel(_PadsWithUnknown):
    """Gemma 1 (Gemma Team, 2024).

    Its embedding module multiplies by the root of the width, so text is scaled and the rows of items, which do not
    pass through it, are not.
    """

    model_types: ClassVar[tuple[str, ...]] = ("gemma",)


class Qwen2LanguageModel(LanguageModel):
    """Qwen2 (Yang et al., 2024) and Qwen2.5; the padding token is the unknown token too."""

    model_types: ClassVar[tuple[str, ...]] = ("qwen2",)

    @classmethod
    def read_tokenizer(cls, checkpoint: str) -> PreTrainedTokenizerBase:
        tokenizer = super().read_tokenizer(checkpoint)
        tokenizer.unk_token = tokenizer.pad_token
        return tokenizer


class Qwen3LanguageModel(LanguageModel):
    """Qwen3 (Yang et al., 2025), the dense ones."""

    model_types: ClassVar[tuple[str, ...]] = ("qwen3",)


class StableLmLanguageModel(LanguageModel):
    """StableLM 3B (Tow et al., 2023) and StableLM 2 (Bellagente et al., 2024)."""

    model_types: ClassVar[tuple[str, ...]] = ("stablelm",)
