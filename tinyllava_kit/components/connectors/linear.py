"""One linear layer."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from tinyllava_kit.core.interfaces import Connector, Features, Grid


class Linear(Connector):
    """Each feature by itself to the width of the LLM."""

    def __init__(self, *, in_dim: int, out_dim: int, grid: Grid | None = None) -> None:
        super().__init__(in_dim=in_dim, out_dim=out_dim, grid=grid)
        self.linear = nn.Linear(in_dim, out_dim)

    def sources(self, num_features: int) -> list[list[int]]:
        return [[feature] for feature in range(num_features)]

    def forward(self, features: Features) -> Tensor:
        rows: Tensor = self.linear(features.features)  # (N, P, D)
        return rows

    @classmethod
    def from_factory_keys(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """TinyLLaVA_Factory's state (without ``_connector.``) under our names."""
        return {f"linear.{key}": value for key, value in state.items()}
