"""The projector of MobileVLM V2 (Chu et al. 2024): an MLP, fewer rows by means, and each row's neighbours.

Legend: N items, P features of an item on a raster of h x w, E tower width, D LLM width, r factor.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from tinyllava_kit.core.interfaces import Features, Grid

from .raster import RasterConnector
from .sequence import zero_padding


class LDPv2(RasterConnector):
    """Two linear layers with GELU between; the mean of each square of r x r; plus a convolution over 3 x 3 rows.

    The convolution has one kernel a channel. Zeros stand around the raster, and where an item fills only its upper
    part. A row so knows the eight around it: on a raster of 2 x 2 rows each has seen the whole picture.
    """

    name: ClassVar[str] = "ldpv2"

    def __init__(self, *, in_dim: int, out_dim: int, grid: Grid | None = None, factor: int = 2) -> None:
        super().__init__(in_dim=in_dim, out_dim=out_dim, grid=grid, factor=factor)
        self.layers = nn.Sequential(nn.Linear(in_dim, out_dim), nn.GELU(), nn.Linear(out_dim, out_dim))
        self.neighbours = nn.Conv2d(out_dim, out_dim, kernel_size=3, padding=1, groups=out_dim)

    def sources(self, num_features: int) -> list[list[int]] | None:
        """The squares that a row's kernel reaches; None where the features are not whole rows of squares."""
        squares = self.squares(num_features)
        if squares is None:
            return None
        width = self.raster[1] // self.factor
        places = [divmod(number, width) for number in range(len(squares))]
        return [
            sorted(
                feature
                for (top, left), square in zip(places, squares, strict=True)
                for feature in square
                if abs(top - row) <= 1 and abs(left - column) <= 1
            )
            for row, column in places
        ]

    def forward(self, features: Features) -> Tensor:
        """Features of whole rasters -> (N, P / r², D).

        Raises:
            KitError: the features are no raster, or one that does not fold; from shapes alone.
        """
        raster = self.grid_of(features)
        rows = self.layers(features.features)  # (N, P, D)
        means = F.avg_pool2d(rows.transpose(1, 2).unflatten(2, raster), self.factor)  # (N, D, h/r, w/r)
        lengths = None if features.lengths is None else features.lengths // self.factor**2
        real = zero_padding(Features(means.flatten(2).transpose(1, 2), lengths))  # (N, P / r², D)
        around = self.neighbours(real.transpose(1, 2).unflatten(2, means.shape[2:]))  # (N, D, h/r, w/r)
        return real + around.flatten(2).transpose(1, 2)  # (N, P / r², D)
