"""Registers the public classes with transformers' Auto classes."""

from __future__ import annotations

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoProcessor,
)

from ..model.configuration import TinyLlavaConfig
from ..model.modeling import TinyLlavaForConditionalGeneration
from .processor import TinyLlavaProcessor

AutoConfig.register(TinyLlavaConfig.model_type, TinyLlavaConfig, exist_ok=True)
for auto in (AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForMultimodalLM):
    auto.register(TinyLlavaConfig, TinyLlavaForConditionalGeneration, exist_ok=True)
AutoProcessor.register(TinyLlavaConfig, TinyLlavaProcessor, exist_ok=True)
