"""The tower: colours as features.

Legend: N pictures, S cells on a side, P = S * S.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from tinyllava_kit import KitError
from tinyllava_kit.components import ImagePreprocessor
from tinyllava_kit.interfaces import Features, Grid, Tower


class ColourGridPreprocessor(ImagePreprocessor):
    """A picture, squeezed to a pixel for each cell."""

    mean = (0.5, 0.5, 0.5)

    def __init__(self, *, cells: int) -> None:
        self.cells = cells

    @property
    def size(self) -> tuple[int, int]:
        return self.cells, self.cells

    @property
    def features_per_image(self) -> int:
        return self.cells**2

    def pixels(self, image: Image.Image) -> Tensor:
        squeezed = image.resize((self.cells, self.cells), Image.Resampling.BOX)
        return torch.from_numpy(np.asarray(squeezed, np.float32).transpose(2, 0, 1).copy()) / 127.5 - 1  # (3, S, S)

    def settings(self) -> dict[str, Any]:
        return {"cells": self.cells}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> ColourGridPreprocessor:
        return cls(**settings)


class ColourGridTower(Tower):
    """The pixels, -1 to 1, each colour times a weight that begins as 1."""

    preprocessor_class = ColourGridPreprocessor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.scale = nn.Parameter(torch.ones(3))

    @property
    def embed_dim(self) -> int:
        return 3

    @property
    def grid(self) -> Grid:
        return self.config["cells"], self.config["cells"]

    @classmethod
    def read_config(cls, checkpoint: str, *, cells: int = 4) -> dict[str, Any]:
        if checkpoint:
            raise KitError(f"colour_grid starts from fixed weights and takes no checkpoint, got {checkpoint!r}")
        return {"cells": cells}

    @classmethod
    def read_preprocessor(cls, checkpoint: str, config: Mapping[str, Any]) -> ColourGridPreprocessor:
        return ColourGridPreprocessor(cells=config["cells"])

    def load_weights(self, checkpoint: str) -> None:
        """There are none to load."""

    def forward(self, pixel_values: Tensor) -> Features:
        """(N, 3, S, S) -> (N, P, 3)."""
        pixels = pixel_values.flatten(2).transpose(1, 2).to(self.scale.dtype)  # (N, P, 3)
        return Features(pixels * self.scale, None, self.grid)  # (N, P, 3)
