"""Features, unchanged."""

from __future__ import annotations

from torch import Tensor

from tinyllava_kit.core.interfaces import Connector, Features, Grid
from tinyllava_kit.errors import KitError


class Identity(Connector):
    """For a tower as wide as the LLM.

    Raises:
        KitError: the widths differ.
    """

    def __init__(self, *, in_dim: int, out_dim: int, grid: Grid | None = None) -> None:
        super().__init__(in_dim=in_dim, out_dim=out_dim, grid=grid)
        if in_dim != out_dim:
            raise KitError(
                f"identity joins equal widths only, got a tower of {in_dim} and an LLM of {out_dim}; choose 'linear'"
            )

    def sources(self, num_features: int) -> list[list[int]]:
        return [[feature] for feature in range(num_features)]

    def forward(self, features: Features) -> Tensor:
        return features.features  # (N, P, D)
