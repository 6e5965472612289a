"""Registers the public classes with transformers' Auto classes; imported when the first of them is touched."""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

from .configuration import TinyLlavaConfig
from .modeling import TinyLlavaForConditionalGeneration
from .processing import TinyLlavaProcessor

AutoConfig.register(TinyLlavaConfig.model_type, TinyLlavaConfig, exist_ok=True)
AutoModelForCausalLM.register(TinyLlavaConfig, TinyLlavaForConditionalGeneration, exist_ok=True)
AutoModelForImageTextToText.register(TinyLlavaConfig, TinyLlavaForConditionalGeneration, exist_ok=True)
AutoProcessor.register(TinyLlavaConfig, TinyLlavaProcessor, exist_ok=True)
