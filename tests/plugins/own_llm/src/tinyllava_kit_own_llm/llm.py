"""The LLM `thrifty`: its classes, registered where they are defined."""

from __future__ import annotations

from typing import ClassVar

from transformers import AutoConfig, AutoModelForCausalLM

from tinyllava_kit.interfaces import LanguageModel

from .network import ThriftyConfig, ThriftyForCausalLM

AutoConfig.register("thrifty", ThriftyConfig, exist_ok=True)
AutoModelForCausalLM.register(ThriftyConfig, ThriftyForCausalLM, exist_ok=True)


class ThriftyLanguageModel(LanguageModel):
    """One pair of keys and values for all heads (Shazeer, arXiv:1911.02150), and learned positions."""

    model_types: ClassVar[tuple[str, ...]] = ("thrifty",)
