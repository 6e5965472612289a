"""What a model costs to load, to train and to generate with, before any weight is read."""

from __future__ import annotations

from typing import Any

import torch

from .blueprint import Blueprint
from .report import cache_bytes, report_parts


def costs_of(blueprint: Blueprint, dtype: torch.dtype) -> dict[str, Any]:
    """Each part with its parameters, bytes, tokens and licence; then the bytes that the whole model needs, as JSON."""
    parts: list[dict[str, Any]] = [
        {
            "part": row.part,
            "component": row.component,
            "checkpoint": row.checkpoint,
            "distribution": row.distribution,
            "parameters": row.parameters,
            "dtype": str(dtype).removeprefix("torch."),
            "bytes": row.parameters * dtype.itemsize,
            "tokens": row.tokens,
            "licence": row.licence or None,
        }
        for row in report_parts(blueprint)
    ]
    everything = sum(part["parameters"] for part in parts)
    joints = sum(part["parameters"] for part in parts if part["part"].startswith("connector"))
    positions = min(getattr(blueprint.config.text_config, "max_position_embeddings", 2048), 2048)
    weights = everything * dtype.itemsize
    state = dtype.itemsize + 8  # of AdamW and the gradient, for each number that is trained
    wanted = {"load": weights, "train_connectors": weights + joints * state, "train_all": weights + everything * state}
    wanted["generate"] = weights + cache_bytes(blueprint.config, positions, dtype)
    return {"parts": parts, "bytes": wanted, "positions": positions}
