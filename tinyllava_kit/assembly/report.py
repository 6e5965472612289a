"""What a blueprint would build: parts, sizes and licences."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ..model.building import build_connector, build_decoder, build_tower
from ..model.configuration import Component, TinyLlavaConfig
from ..plugin.specs import load
from ..pretrained.sizes import bounded
from .assembly import ResolvedPart
from .blueprint import Blueprint


@dataclass(frozen=True, kw_only=True)
class PartReport:
    """What one part of an assembly costs. `tokens` per item: None where it varies or does not apply."""

    part: str
    component: str
    distribution: str
    checkpoint: str
    parameters: int
    tokens: int | None = None
    licence: str = ""


def report_parts(blueprint: Blueprint) -> list[PartReport]:
    """Each part's parameters and tokens per item, from configurations alone."""
    config, resolved = blueprint.config, blueprint.resolved
    with torch.device("meta"), bounded("the assembly"):
        llm = load(resolved.llm.offer.spec).build(config.text_config)
        rows = [_row("llm", resolved.llm, config.component("llm"), llm)]
        for modality, part in resolved.towers.items():
            tower = build_tower(config, modality, blueprint.catalog)
            connector = build_connector(config, modality, blueprint.catalog)
            fixed = blueprint.preprocessors[modality].fixed_features
            rows.append(_row(f"tower {modality}", part, config.component("tower", modality), tower, fixed))
            tokens = None if fixed is None else connector.num_tokens(fixed)
            joint, saved = resolved.connectors[modality], config.component("connector", modality)
            rows.append(_row(f"connector {modality}", joint, saved, connector, tokens))
        for modality, part in resolved.decoders.items():
            decoder = build_decoder(config, modality, blueprint.catalog)
            rows.append(_row(f"decoder {modality}", part, config.component("decoder", modality), decoder))
    return rows


def cache_bytes(config: TinyLlavaConfig, positions: int, dtype: torch.dtype) -> int:
    """Bytes of the key-value cache for one sample of `positions` tokens."""
    text = config.text_config
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * text.num_hidden_layers * heads * head_dim * positions * dtype.itemsize


def _row(
    name: str, part: ResolvedPart, component: Component, module: nn.Module, tokens: int | None = None
) -> PartReport:
    return PartReport(
        part=name,
        component=part.part.name,
        distribution=f"{part.offer.distribution} {part.offer.version}",
        checkpoint=part.checkpoint,
        parameters=sum(p.numel() for p in module.parameters()),
        tokens=tokens,
        licence=component.licence,
    )
