"""The tensors of several items of one modality, as its tower takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def window_inputs(num_features: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """For items of several rows: which row and which of its features stand where in the joined item.

    Empty where every item is one row.
    """
    if all(len(counts) == 1 for counts in num_features):
        return {}
    lengths = [sum(counts) for counts in num_features]
    rows = np.zeros((len(lengths), max(lengths)), np.int64)
    within = np.zeros_like(rows)
    first = 0
    for number, counts in enumerate(num_features):
        rows[number, : lengths[number]] = first + np.repeat(np.arange(len(counts)), counts)
        within[number, : lengths[number]] = np.concatenate([np.arange(count) for count in counts])
        first += len(counts)
    return {
        "window_rows": torch.from_numpy(rows),
        "window_features": torch.from_numpy(within),
        "window_lengths": torch.tensor(lengths),
    }


def pad_features(features: Sequence[Tensor]) -> dict[str, Tensor]:
    """Features (P_i, E) of several items -> ``features`` (N, P, E), with ``lengths`` (N,) where they differ."""
    lengths = [len(f) for f in features]
    if len(set(lengths)) == 1:
        return {"features": torch.stack(list(features))}
    return {
        "features": torch.nn.utils.rnn.pad_sequence(list(features), batch_first=True),
        "lengths": torch.tensor(lengths),
    }
