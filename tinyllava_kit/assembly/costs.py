"""What a model costs to load, to train and to generate with, before any weight is read."""

from __future__ import annotations

from typing import Any

import torch

from .blueprint import Blueprint
from .part_costs import cache_bytes, report_parts


def costs_of(blueprint: Blueprint, dtype: torch.dtype) -> dict[str, Any]:
    """Each part with its parameters, bytes, tokens and licence; then the bytes that the whole model needs, as JSON."""
    parts: list[dict[str, Any]] = [
        {
            "part": cost.part,
            "component": cost.component.name,
            "checkpoint": cost.component.checkpoint,
            "distribution": f"{cost.component.distribution} {cost.component.version}",
            "parameters": cost.parameters,
            "dtype": str(dtype).removeprefix("torch."),
            "bytes": cost.parameters * dtype.itemsize,
            "tokens": cost.tokens,
            "licence": cost.component.licence or None,
        }
        for cost in report_parts(blueprint)
    ]
    everything = sum(part["parameters"] for part in parts)
    joints = sum(part["parameters"] for part in parts if part["part"].startswith("connector"))
    positions = min(getattr(blueprint.config.text_config, "max_position_embeddings", 2048), 2048)
    weights = everything * dtype.itemsize
    state = dtype.itemsize + 8  # of AdamW and the gradient, for each number that is trained
    wanted = {"load": weights, "train_connectors": weights + joints * state, "train_all": weights + everything * state}
    wanted["generate"] = weights + cache_bytes(blueprint.config, positions, dtype)
    return {"parts": parts, "bytes": wanted, "positions": positions}
