"""Frame stacking: neighbours side by side in one wider row, then an MLP.

Legend: N items, P features of an item, E tower width, D LLM width, k features of a row, G = ceil(P / k) rows.
"""

from __future__ import annotations

from torch import Tensor

from tinyllava_kit.core.interfaces import Connector, Features, Grid

from .sequence import check_positive, group, members, normed_mlp, num_groups


class StackMLP(Connector):
    """`factor` neighbours become one row, normalised; then two linear layers with GELU between.

    Stacking is SLAM-ASR's (Ma et al. 2024), normalising the stacked row Ultravox's. A last row that is not full is
    filled with zeros, so nothing is dropped and nothing of the padding seen. The default of 5 is that of SLAM-ASR and
    LLaMA-Omni: 10 rows from the usual 50 features a second, where most systems have 10 to 12.5. A factor of 8, as in
    Ultravox, costs the LLM less and asks more of each row.

    Raises:
        KitError: `factor` below 1, `hidden_dim` below 0.
    """

    def __init__(
        self, *, in_dim: int, out_dim: int, grid: Grid | None = None, factor: int = 5, hidden_dim: int = 0
    ) -> None:
        super().__init__(in_dim=in_dim, out_dim=out_dim, grid=grid)
        check_positive("stack_mlp", factor=factor, hidden_dim=hidden_dim or out_dim)
        self.factor = factor
        self.mlp = normed_mlp(factor * in_dim, hidden_dim, out_dim)

    def num_tokens(self, num_features: int) -> int:
        return num_groups(num_features, self.factor)

    def sources(self, num_features: int) -> list[list[int]]:
        return members(num_features, self.factor)

    def forward(self, features: Features) -> Tensor:
        stacked = group(features, self.factor).flatten(2)  # (N, G, k * E)
        rows: Tensor = self.mlp(stacked)  # (N, G, D)
        return rows
