"""The connector of the tower `mof`: an MLP for each of the two, as in TinyLLaVA_Factory.

Legend: N pictures, P features of a picture, E width of each of the two, D width of the LLM.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tinyllava_kit import KitError
from tinyllava_kit.interfaces import Connector, Features, Grid


class MofMLP(Connector):
    """Two linear layers with GELU between for each half of the width; their rows take turns, CLIP's first.

    Raises:
        KitError: a width that has no halves.
    """

    def __init__(self, *, in_dim: int, out_dim: int, grid: Grid | None = None) -> None:
        super().__init__(in_dim=in_dim, out_dim=out_dim, grid=grid)
        if in_dim % 2:
            raise KitError(f"mof_mlp halves the features, got {in_dim} wide; it joins the tower 'mof'")
        self.clip, self.dinov2 = (_mlp(in_dim // 2, out_dim) for _ in range(2))

    def num_tokens(self, num_features: int) -> int:
        return 2 * num_features

    def sources(self, num_features: int) -> list[list[int]]:
        return [[feature] for feature in range(num_features) for _ in range(2)]

    def forward(self, features: Features) -> Tensor:
        clip, dinov2 = features.features.chunk(2, dim=-1)  # each (N, P, E)
        rows = torch.stack([self.clip(clip), self.dinov2(dinov2)], dim=2)  # (N, P, 2, D)
        return rows.flatten(1, 2)  # (N, 2 P, D)


def _mlp(in_dim: int, out_dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_dim, out_dim), nn.GELU(), nn.Linear(out_dim, out_dim))
