"""What the connectors for long sequences share: zeros for padding, groups of neighbours, the layers at the end.

They take an item's features in order, whatever the length. A raster (`Features.grid`) means nothing to them: a picture
is read row by row, so that neighbours at the end of one row of patches and the start of the next come together.

Legend: N items, P features of an item, E tower width, D LLM width, s features of a group, G = ceil(P / s) groups.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinyllava_kit.core.interfaces import Features
from tinyllava_kit.errors import KitError


def zero_padding(features: Features) -> Tensor:
    """(N, P, E) with zeros past each item's length, whatever stood there; the same tensor where all are real."""
    rows = features.features  # (N, P, E)
    if features.lengths is None:
        return rows
    real = torch.arange(rows.shape[1], device=rows.device) < features.lengths[:, None]  # (N, P)
    return rows.masked_fill(~real[..., None], 0)  # (N, P, E)


def num_groups(num_features: int, size: int) -> int:
    """ceil(num_features / size)."""
    return -(-num_features // size)


def members(num_features: int, size: int) -> list[list[int]]:
    """The features of each group."""
    return [list(range(start, min(start + size, num_features))) for start in range(0, num_features, size)]


def group(features: Features, size: int) -> Tensor:
    """(N, P, E) -> (N, G, s, E): neighbours by `size`, zeros where the last group or an item has no more."""
    rows = zero_padding(features)
    count = num_groups(rows.shape[1], size)
    padded = F.pad(rows, (0, 0, 0, count * size - rows.shape[1]))  # (N, G * s, E)
    groups: Tensor = padded.unflatten(1, (count, size))  # (N, G, s, E)
    return groups


def group_lengths(features: Features, size: int) -> Tensor:
    """(N, G) int64: how many of each group's features are real; 0 past the end of an item."""
    num_items, num_features = features.features.shape[:2]
    lengths = features.lengths
    if lengths is None:
        lengths = torch.full((num_items,), num_features, device=features.features.device)  # (N,)
    starts = size * torch.arange(num_groups(num_features, size), device=lengths.device)  # (G,)
    return (lengths[:, None] - starts).clamp(0, size)  # (N, G)


def normed_mlp(in_dim: int, hidden_dim: int, out_dim: int) -> nn.Sequential:
    """LayerNorm and two linear layers with GELU between; a `hidden_dim` of 0 means `out_dim`.

    Normalised first, because towers differ in the scale of their features, and layers of one tower do.
    """
    hidden_dim = hidden_dim or out_dim
    return nn.Sequential(nn.LayerNorm(in_dim), nn.Linear(in_dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, out_dim))


def check_positive(owner: str, **sizes: int) -> None:
    """Refuse sizes that cannot be.

    Raises:
        KitError: one is below 1.
    """
    for name, size in sizes.items():
        if size < 1:
            raise KitError(f"{owner}: {name} must be 1 or more, got {size}")
