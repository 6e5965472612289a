"""The name of the cache of keys and values, as an argument and in outputs: transformers renamed it with 5.24."""

from __future__ import annotations

from inspect import signature

from transformers import GenerationMixin

# `cache`; before 5.24 `past_key_values`, which later versions warn about
CACHE = "cache" if "cache" in signature(GenerationMixin.prepare_inputs_for_generation).parameters else "past_key_values"
