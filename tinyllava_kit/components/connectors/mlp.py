"""Linear layers with GELU between, as in LLaVA 1.5."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from tinyllava_kit.core.interfaces import Connector, Features, Grid
from tinyllava_kit.files.content import Layers


class MLP(Connector):
    """``mlp2x_gelu`` and its like; `depth` linear layers, all after the first as wide as the LLM."""

    def __init__(self, *, in_dim: int, out_dim: int, grid: Grid | None = None, depth: Layers = 2) -> None:
        super().__init__(in_dim=in_dim, out_dim=out_dim, grid=grid)
        layers: list[nn.Module] = [nn.Linear(in_dim, out_dim)]
        for _ in range(depth - 1):
            layers += [nn.GELU(), nn.Linear(out_dim, out_dim)]
        self.layers = nn.Sequential(*layers)

    def sources(self, num_features: int) -> list[list[int]]:
        return [[feature] for feature in range(num_features)]

    def forward(self, features: Features) -> Tensor:
        rows: Tensor = self.layers(features.features)  # (N, P, D)
        return rows

    @classmethod
    def from_factory_keys(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """TinyLLaVA_Factory's state (without ``_connector.``) under our names."""
        return {f"layers.{key}": value for key, value in state.items()}
