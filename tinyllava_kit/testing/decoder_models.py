"""A toy model around a decoder, for the contracts of decoders."""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaConfig, PreTrainedConfig

from ..core.decoders import Decoder
from ..model.configuration import TinyLlavaConfig
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..plugin.catalog import Catalog, Offer
from ..plugin.specs import DecoderSpec, LanguageModelSpec

TEXT_IDS, END_ID = 11, 2


def model_with(decoder: Decoder, reads: str, **config: Any) -> TinyLlavaForConditionalGeneration:
    """A toy LLM with a new decoder of the same class and configuration, for items of `it`."""
    target = f"{type(decoder).__module__}:{type(decoder).__qualname__}"
    specs = (
        LanguageModelSpec(name="toy", target="tinyllava_kit.core.interfaces:LanguageModel"),
        DecoderSpec(name="it", target=target, modality="it", reads=reads),
    )
    offers = tuple(Offer(spec=spec, plugin="tests", distribution="tests", version="0") for spec in specs)
    torch.manual_seed(0)
    return TinyLlavaForConditionalGeneration(
        TinyLlavaConfig(
            text_config=tiny_llm_config(),
            llm={"name": "toy", "distribution": "tests"},
            decoders={"it": {"name": "it", "distribution": "tests", "config": decoder.config}},
            **config,
        ),
        catalog=Catalog(offers=offers),
    )


def tiny_llm_config() -> PreTrainedConfig:
    """The configuration of a Llama of two layers, 64 wide."""
    return LlamaConfig(
        vocab_size=TEXT_IDS,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.1,
        bos_token_id=1,
        eos_token_id=END_ID,
        pad_token_id=0,
    )
