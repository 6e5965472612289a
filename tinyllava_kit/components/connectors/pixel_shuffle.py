"""Pixel shuffle: fewer, wider features, as in InternVL (Chen et al. 2024) and SmolVLM, then an MLP.

Legend: N items, P features of an item on a raster of h x w, E tower width, D LLM width, r factor.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from tinyllava_kit.core.interfaces import Features, Grid

from .raster import RasterConnector, fold


class PixelShuffleMLP(RasterConnector):
    """Squares of r x r neighbours become one row, normalised; then two linear layers with GELU between.

    LayerNorm and depth are InternVL's. An item that fills only the upper part of the raster is folded too, if
    its rows of patches do.
    """

    name: ClassVar[str] = "pixel_shuffle_mlp"

    def __init__(self, *, in_dim: int, out_dim: int, grid: Grid | None = None, factor: int = 2) -> None:
        super().__init__(in_dim=in_dim, out_dim=out_dim, grid=grid, factor=factor)
        folded = in_dim * factor**2
        self.norm = nn.LayerNorm(folded)
        self.layers = nn.Sequential(nn.Linear(folded, out_dim), nn.GELU(), nn.Linear(out_dim, out_dim))

    def sources(self, num_features: int) -> list[list[int]] | None:
        """The square of each row; None where the features are not whole rows of squares."""
        return self.squares(num_features)

    def forward(self, features: Features) -> Tensor:
        """Features of whole rasters -> (N, P / r², D).

        Raises:
            KitError: the features are no raster, or one that does not fold; from shapes alone.
        """
        folded = fold(features.features, self.grid_of(features), self.factor)  # (N, P / r², r² * E)
        return self.layers(self.norm(folded))  # (N, P / r², D)
