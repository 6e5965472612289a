"""Pixel shuffle: fewer, wider features, as in InternVL (Chen et al. 2024) and SmolVLM, then an MLP.

Legend: N items, P features of an item on a raster of h x w, E tower width, D LLM width, r factor.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tinyllava_kit.core.interfaces import Connector, Features, Grid
from tinyllava_kit.errors import KitError


class PixelShuffleMLP(Connector):
    """Squares of r x r neighbours become one row, normalised; then two linear layers with GELU between.

    LayerNorm and depth are InternVL's. An item that fills only the upper part of the raster is folded too, if
    its rows of patches do.
    """

    def __init__(self, *, in_dim: int, out_dim: int, grid: Grid | None = None, factor: int = 2) -> None:
        super().__init__(in_dim=in_dim, out_dim=out_dim, grid=grid)
        self.factor = factor
        if factor < 1:
            raise KitError(f"pixel_shuffle_mlp: factor must be 1 or more, got {factor}")
        if grid is None:
            raise KitError(
                "pixel_shuffle_mlp needs a tower whose features lie on a raster; for a sequence choose 'stack_mlp'"
            )
        self.raster = grid
        self._check_fold(grid)
        folded = in_dim * factor**2
        self.norm = nn.LayerNorm(folded)
        self.layers = nn.Sequential(nn.Linear(folded, out_dim), nn.GELU(), nn.Linear(out_dim, out_dim))

    def num_tokens(self, num_features: int) -> int:
        """A square of features is one row.

        Raises:
            KitError: the features are not whole squares.
        """
        rows, rest = divmod(num_features, self.factor**2)
        if rest:
            raise KitError(
                f"pixel_shuffle_mlp folds {self.factor} x {self.factor} features to one row; {num_features} do not fold"
            )
        return rows

    def sources(self, num_features: int) -> list[list[int]] | None:
        """The square of each row; None where the features are not whole rows of squares."""
        height, rest = divmod(num_features, self.raster[1])
        if rest or height % self.factor:
            return None
        numbers = torch.arange(num_features).view(1, num_features, 1)  # (1, P, 1)
        return fold(numbers, (height, self.raster[1]), self.factor)[0].tolist()

    def forward(self, features: Features) -> Tensor:
        """Features of whole rasters -> (N, P / r², D).

        Raises:
            KitError: the features are no raster, or one that does not fold; from shapes alone.
        """
        grid = features.grid or self.raster
        self._check_fold(grid)
        if features.features.shape[1] != grid[0] * grid[1]:
            raise KitError(
                f"pixel_shuffle_mlp expected {grid[0]} x {grid[1]} features, got {features.features.shape[1]}; "
                "it takes items of one row of the tower, without a class token"
            )
        return self.layers(self.norm(fold(features.features, grid, self.factor)))  # (N, P / r², D)

    def _check_fold(self, grid: Grid) -> None:
        if grid[0] % self.factor or grid[1] % self.factor:
            fits = [str(r) for r in range(1, min(grid) + 1) if grid[0] % r == 0 and grid[1] % r == 0]
            raise KitError(
                f"pixel_shuffle_mlp: a raster of {grid[0]} x {grid[1]} features does not fold by factor {self.factor}; "
                f"factors that do: {', '.join(fits)}"
            )


def fold(features: Tensor, grid: Grid, factor: int) -> Tensor:
    """(N, h * w, E) -> (N, h/r * w/r, r * r * E): squares row by row, and so are the patches in each."""
    rows = features.unflatten(1, (grid[0] // factor, factor, grid[1] // factor, factor))  # (N, h/r, r, w/r, r, E)
    return rows.transpose(2, 3).flatten(3).flatten(1, 2)  # (N, h/r * w/r, r * r * E)
