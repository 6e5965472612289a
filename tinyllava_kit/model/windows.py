"""A tower on the windows of long items."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..core.interfaces import Features, Tower


def run_windows(tower: Tower, inputs: Mapping[str, Tensor]) -> Features:
    """The tower on its rows: without a graph as many at a time as `Tower.rows_at_once` says, and put together again.

    All at once in a distributed run, where each rank must call a sharded tower as often as the others.
    """
    number = len(next(iter(inputs.values())))
    alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
    step = tower.rows_at_once(inputs) if alone and not torch.is_grad_enabled() else number
    if step >= number:
        features: Features = tower(**inputs)
        return features
    starts = range(0, number, step)
    parts = [tower(**{name: value[start : start + step] for name, value in inputs.items()}) for start in starts]
    lengths = None if parts[0].lengths is None else torch.cat([part.lengths for part in parts])  # (N,)
    return Features(torch.cat([part.features for part in parts]), lengths, parts[0].grid)  # (N, P, E)


def join_windows(features: Features, inputs: Mapping[str, Tensor]) -> Features:
    """The rows of each item behind one another: (rows, P, E) -> (N, P', E), zero past each item's length.

    ``window_rows`` and ``window_features`` (N, P') say which row and which of its features stand where,
    ``window_lengths`` (N,) how many are real.
    """
    joined = features.features[inputs["window_rows"], inputs["window_features"]]  # (N, P', E)
    lengths = inputs["window_lengths"]
    real = torch.arange(joined.shape[1], device=joined.device) < lengths[:, None]  # (N, P')
    return Features(joined * real[..., None].to(joined.dtype), lengths)
