"""The modality: a depth map, read and checked."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinyllava_kit import KitError
from tinyllava_kit.interfaces import Grid, Modality, Preprocessor


class DepthModality(Modality):
    """Depth maps, (H, W) float32 in metres; NaN where nothing was measured."""

    def read(self, source: Any) -> Tensor:
        """Read a depth map from an ``.npy`` file or an array: (H, W) float32 metres, NaN where nothing was measured.

        Raises:
            KitError: missing, no array, not of two dimensions, or without a depth; names the file.
        """
        is_file = isinstance(source, (str, os.PathLike))
        name = str(source) if is_file else "depth map"
        try:
            values = np.asarray(np.load(source, allow_pickle=False) if is_file else source, dtype=np.float32)
        except FileNotFoundError:
            raise KitError(f"{name}: no such file") from None
        except (OSError, ValueError, TypeError, EOFError) as error:
            raise KitError(f"{name}: not a depth map ({error}); give an .npy file of numbers") from error
        if values.ndim != 2 or not values.size:
            raise KitError(f"{name}: needs two dimensions, got shape {values.shape}")
        if not np.isfinite(values).any() or np.isinf(values).any() or np.nanmin(values) < 0:
            raise KitError(f"{name}: needs depths in metres, from 0 on, and NaN where nothing was measured")
        return torch.from_numpy(values.copy())  # (H, W)

    def blank(self, item: Tensor) -> Tensor:
        """A wall: the mean depth everywhere."""
        return torch.full_like(item, float(item[~item.isnan()].mean()))

    def draw(self, axes: Any, item: Tensor, preprocessor: Preprocessor, num_features: int, grid: Grid | None) -> Any:
        """The map, and its cells."""
        axes.imshow(item.numpy(), extent=(0, 1, 1, 0), aspect="auto")
        axes.set_axis_off()
        if grid is None:
            return None
        row, column = np.divmod(np.arange(num_features), grid[1])
        corners = [column / grid[1], row / grid[0], (column + 1) / grid[1], (row + 1) / grid[0]]
        return np.stack(corners, axis=1)  # (P, 4)
