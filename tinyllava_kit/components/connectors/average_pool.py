"""Average pooling that leaves padding out, then an MLP.

Legend: N items, P features of an item, E tower width, D LLM width, s features of a row, G = ceil(P / s) rows.
"""

from __future__ import annotations

from torch import Tensor

from tinyllava_kit.core.interfaces import Connector, Features, Grid

from .sequence import check_positive, group, group_lengths, members, normed_mlp, num_groups


class AveragePoolMLP(Connector):
    """The mean of `factor` neighbours is one row, normalised; then two linear layers with GELU between.

    Pooling and normalisation in this order are Qwen2-Audio's, which pools 2 and drops a single last feature. Here the
    last row is the mean of the remaining features. The default of 5 gives as many rows as `stack_mlp` does.

    Raises:
        KitError: `factor` below 1, `hidden_dim` below 0.
    """

    def __init__(
        self, *, in_dim: int, out_dim: int, grid: Grid | None = None, factor: int = 5, hidden_dim: int = 0
    ) -> None:
        super().__init__(in_dim=in_dim, out_dim=out_dim, grid=grid)
        check_positive("avgpool_mlp", factor=factor, hidden_dim=hidden_dim or out_dim)
        self.factor = factor
        self.mlp = normed_mlp(in_dim, hidden_dim, out_dim)

    def num_tokens(self, num_features: int) -> int:
        return num_groups(num_features, self.factor)

    def sources(self, num_features: int) -> list[list[int]]:
        return members(num_features, self.factor)

    def forward(self, features: Features) -> Tensor:
        total = group(features, self.factor).sum(2)  # (N, G, E)
        count = group_lengths(features, self.factor).clamp(min=1)  # (N, G)
        rows: Tensor = self.mlp(total / count[..., None].to(total.dtype))  # (N, G, D)
        return rows
