"""The tower: three numbers of each cell of a map, projected.

Legend: N maps, S cells on a side, P = S * S, E width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d

from tinyllava_kit import KitError
from tinyllava_kit.interfaces import Features, Grid, Preprocessor, Tower

WIDTH = 24


class DepthGridPreprocessor(Preprocessor):
    """A map of any size -> for each cell the nearest depth, the mean one, and the share that was measured."""

    def __init__(self, *, cells: int) -> None:
        self.cells = cells

    def __call__(self, item: Tensor) -> list[dict[str, Tensor]]:
        measured = (~item.isnan()).float()[None]  # (1, H, W)
        depths = item.nan_to_num(0.0)[None]
        share = adaptive_avg_pool2d(measured, self.cells)  # (1, S, S)
        mean = adaptive_avg_pool2d(depths, self.cells) / share.clamp(min=1e-6)
        near = -adaptive_max_pool2d(torch.where(measured > 0, -depths, -1e3), self.cells)
        return [{"cells": torch.cat([near.clamp(max=1e3), mean, share])}]  # (3, S, S)

    def num_features(self, item: Tensor) -> list[int]:
        return [self.cells**2]

    @property
    def fixed_features(self) -> int:
        return self.cells**2

    def settings(self) -> dict[str, Any]:
        return {"cells": self.cells}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> DepthGridPreprocessor:
        return cls(**settings)


class DepthGridTower(Tower):
    """Inverse depths and the share, through two layers."""

    preprocessor_class = DepthGridPreprocessor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.layers = nn.Sequential(nn.Linear(3, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.position = nn.Parameter(torch.zeros(config["cells"] ** 2, WIDTH))

    @property
    def embed_dim(self) -> int:
        return WIDTH

    @property
    def grid(self) -> Grid:
        return self.config["cells"], self.config["cells"]

    @classmethod
    def read_config(cls, checkpoint: str, *, cells: int = 4) -> dict[str, Any]:
        if checkpoint:
            raise KitError(f"depth_grid starts with new weights and takes no checkpoint, got {checkpoint!r}")
        return {"cells": cells}

    @classmethod
    def read_preprocessor(cls, checkpoint: str, config: Mapping[str, Any]) -> DepthGridPreprocessor:
        return DepthGridPreprocessor(cells=config["cells"])

    def load_weights(self, checkpoint: str) -> None:
        """There are none to load."""

    def forward(self, cells: Tensor) -> Features:
        """(N, 3, S, S) -> (N, P, E)."""
        near, mean, share = cells.flatten(2).to(self.position.dtype).unbind(1)  # (N, P) each
        numbers = torch.stack([1 / (1 + near), 1 / (1 + mean), share], -1)  # (N, P, 3)
        return Features(self.layers(numbers) + self.position, None, self.grid)  # (N, P, E)
