"""Attention among the positions of each sample of a packed row, without computing what the mask would throw away.

transformers keeps the samples of a row apart by a mask, and SDPA then multiplies every position with every other. Here
SDPA is called for each sample by itself, causal and without a mask: a row of samples costs what they cost alone.
Flash-attention (``varlen``) and flex attention have ways of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ..core.plan import Plan
from ..errors import FusionError
from ..pretrained.cache_name import CACHE

Borders = Sequence[Sequence[tuple[int, int]]]  # of each row, where each of its samples begins and ends

# What a mask also says, and a sample by itself would not know.
_NEEDS_MASK = ("sliding_window", "position_bias")


def packed_inputs(inputs: Mapping[str, Any], plan: Plan, attention: str | None) -> dict[str, Any]:
    """What an LLM takes of a packed batch, `inputs` as it takes them of others, under this way to compute attention.

    Raises:
        FusionError: a mask or a cache, under which samples would attend to each other.
    """
    for name in ("attention_mask", CACHE):
        if inputs.get(name) is not None:
            raise FusionError(f"a packed batch takes no {name}: its position_ids keep samples apart; leave it out")
    packed = {**inputs, "use_cache": False}  # with a cache, transformers does not look for packs
    if attention == "sdpa":
        packed["pack_borders"] = borders_of(plan)
    if needs_one_row(attention):
        packed["inputs_embeds"] = inputs["inputs_embeds"].flatten(0, 1)[None]  # (1, B*T, D)
        packed["position_ids"] = inputs["position_ids"].flatten()[None]  # (1, B*T)
    return packed


def needs_one_row(attention: str | None) -> bool:
    """Whether packs must be in one row: transformers finds them so for flash-attention, and in each row for others."""
    return "flash" in (attention or "")


def borders_of(plan: Plan) -> Borders:
    """Where the samples of a plan lie."""
    rows: list[list[tuple[int, int]]] = [[] for _ in range(plan.shape[0])]
    for sample in plan.samples:
        if sample.num_tokens:
            rows[sample.row].append((sample.start, sample.start + sample.num_tokens))
    return rows


def sdpa_in_packs(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    pack_borders: Borders | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' ``sdpa``, and for packed rows sample by sample: (B, H, T, d) -> (B, T, H, d), zero on padding.

    Args:
        pack_borders: `borders_of` the batch; without them, the mask is used.
    """
    if pack_borders is None or any(kwargs.get(name) is not None for name in _NEEDS_MASK):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    rows = []
    for row, samples in enumerate(pack_borders):
        parts, end = [], 0
        for start, end in samples:
            q, k, v = (each[row : row + 1, :, start:end] for each in (query, key, value))  # (1, H, t, d)
            parts.append(sdpa_attention_forward(module, q, k, v, None, **kwargs)[0])  # (1, t, H, d)
        parts.append(query.new_zeros(1, query.shape[2] - end, query.shape[1], value.shape[-1]))
        rows.append(torch.cat(parts, 1))  # (1, T, H, d)
    return torch.cat(rows), None


AttentionInterface.register("sdpa", sdpa_in_packs)
