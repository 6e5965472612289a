"""What the connectors for rasters share: one row of the LLM for each square of features.

Legend: N items, P features of an item on a raster of h x w, E tower width, r side of a square.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from tinyllava_kit.core.interfaces import Connector, Features, Grid
from tinyllava_kit.errors import KitError


class RasterConnector(Connector):
    """One row for each square of `factor` x `factor` features; an item may fill only the upper part of the raster.

    Raises:
        KitError: `factor` below 1, no raster, or one that is not whole squares.
    """

    name: ClassVar[str]  # in messages

    def __init__(self, *, in_dim: int, out_dim: int, grid: Grid | None = None, factor: int = 2) -> None:
        super().__init__(in_dim=in_dim, out_dim=out_dim, grid=grid)
        self.factor = factor
        if factor < 1:
            raise KitError(f"{self.name}: factor must be 1 or more, got {factor}")
        if grid is None:
            raise KitError(
                f"{self.name} needs a tower whose features lie on a raster; for a sequence choose 'stack_mlp'"
            )
        self.raster = grid
        self._check_fold(grid)

    def num_tokens(self, num_features: int) -> int:
        """A square of features is one row.

        Raises:
            KitError: the features are not whole squares.
        """
        rows, rest = divmod(num_features, self.factor**2)
        if rest:
            raise KitError(
                f"{self.name} folds {self.factor} x {self.factor} features to one row; {num_features} do not fold"
            )
        return rows

    def squares(self, num_features: int) -> list[list[int]] | None:
        """The features in the square of each row; None where they are not whole rows of squares."""
        height, rest = divmod(num_features, self.raster[1])
        if rest or height % self.factor:
            return None
        numbers = torch.arange(num_features).view(1, num_features, 1)  # (1, P, 1)
        squares: list[list[int]] = fold(numbers, (height, self.raster[1]), self.factor)[0].tolist()
        return squares

    def grid_of(self, features: Features) -> Grid:
        """The raster that a batch of features fills.

        Raises:
            KitError: the features are no raster, or one that does not fold; from shapes alone.
        """
        grid = features.grid or self.raster
        self._check_fold(grid)
        if features.features.shape[1] != grid[0] * grid[1]:
            raise KitError(
                f"{self.name} expected {grid[0]} x {grid[1]} features, got {features.features.shape[1]}; "
                "it takes items of one row of the tower, without a class token"
            )
        return grid

    def _check_fold(self, grid: Grid) -> None:
        if grid[0] % self.factor or grid[1] % self.factor:
            fits = [str(r) for r in range(1, min(grid) + 1) if grid[0] % r == 0 and grid[1] % r == 0]
            raise KitError(
                f"{self.name}: a raster of {grid[0]} x {grid[1]} features does not fold by factor {self.factor}; "
                f"factors that do: {', '.join(fits)}"
            )


def fold(features: Tensor, grid: Grid, factor: int) -> Tensor:
    """(N, h * w, E) -> (N, h/r * w/r, r * r * E): squares row by row, and so are the patches in each."""
    rows = features.unflatten(1, (grid[0] // factor, factor, grid[1] // factor, factor))  # (N, h/r, r, w/r, r, E)
    return rows.transpose(2, 3).flatten(3).flatten(1, 2)  # (N, h/r * w/r, r * r * E)
