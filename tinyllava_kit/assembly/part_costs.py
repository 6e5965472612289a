"""What a blueprint would build: parts, sizes and licences."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ..model.builders import build_connector, build_decoder, build_tower
from ..model.configuration import Component, TinyLlavaConfig
from ..plugin.specs import load
from ..pretrained.sizes import bounded
from .blueprint import Blueprint


@dataclass(frozen=True, kw_only=True)
class PartCost:
    """What one part of an assembly costs, beside what will be saved of it.

    `part` says what it is in the model (``tower image``). `tokens` per item: None where it varies or does not apply.
    """

    part: str
    component: Component
    parameters: int
    tokens: int | None = None


def report_parts(blueprint: Blueprint) -> list[PartCost]:
    """Each part's parameters and tokens per item, from configurations alone."""
    config, catalog = blueprint.config, blueprint.catalog
    with torch.device("meta"), bounded("the assembly"):
        llm = load(blueprint.resolved.llm.offer.spec).build(config.text_config)
        costs = [_cost(config, "llm", "", llm)]
        for modality in config.towers:
            connector = build_connector(config, modality, catalog)
            fixed = blueprint.preprocessors[modality].fixed_features
            tokens = None if fixed is None else connector.num_tokens(fixed)
            costs.append(_cost(config, "tower", modality, build_tower(config, modality, catalog), fixed))
            costs.append(_cost(config, "connector", modality, connector, tokens))
        costs += [_cost(config, "decoder", m, build_decoder(config, m, catalog)) for m in config.decoders]
    return costs


def cache_bytes(config: TinyLlavaConfig, positions: int, dtype: torch.dtype) -> int:
    """Bytes of the key-value cache for one sample of `positions` tokens."""
    text = config.text_config
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * text.num_hidden_layers * heads * head_dim * positions * dtype.itemsize


def _cost(config: TinyLlavaConfig, kind: str, modality: str, module: nn.Module, tokens: int | None = None) -> PartCost:
    return PartCost(
        part=f"{kind} {modality}".strip(),
        component=config.component(kind, modality),
        parameters=sum(p.numel() for p in module.parameters()),
        tokens=tokens,
    )
