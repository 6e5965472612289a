"""Language models of the Llama architecture: transformers' own classes, as `LanguageModel` uses them."""

from __future__ import annotations

from typing import ClassVar

from tinyllava_kit.interfaces import LanguageModel


class LlamaLanguageModel(LanguageModel):
    """TinyLlama (Zhang et al., 2024), SmolLM2 (Allal et al., 2025) and others of the architecture."""

    model_types: ClassVar[tuple[str, ...]] = ("llama",)
