"""A Q-Former that looks at one window of the sequence at a time.

Legend: N items, P features of an item, E tower width, D LLM width, W features of a window, G = ceil(P / W) windows,
Q queries.
"""

from __future__ import annotations

from torch import Tensor

from tinyllava_kit.core.interfaces import Connector, Features, Grid
from tinyllava_kit.files.content import Layers

from .qformer import QFormer
from .sequence import check_positive, group, group_lengths, members, num_groups


class WindowQFormer(Connector):
    """Each `window` of features becomes `num_queries` rows; a last window that is not full does, too.

    Short windows and two layers are SALMONN's (Tang et al. 2023), 3 rows for 15 features Granite-Speech's, which also
    attends to the zeros that fill a window; here they are masked. The order of features inside a window is known only
    from what the tower put into them.

    Raises:
        KitError: `window` or `num_queries` below 1, or sizes that `QFormer` refuses.
    """

    def __init__(
        self,
        *,
        in_dim: int,
        out_dim: int,
        grid: Grid | None = None,
        window: int = 15,
        num_queries: int = 3,
        num_layers: Layers = 2,
        hidden_dim: int = 768,
        num_heads: int = 12,
        mlp_dim: int = 3072,
    ) -> None:
        super().__init__(in_dim=in_dim, out_dim=out_dim, grid=grid)
        check_positive("window_qformer", window=window, num_queries=num_queries)
        self.window, self.num_queries = window, num_queries
        self.qformer = QFormer(
            in_dim=in_dim,
            out_dim=out_dim,
            num_queries=num_queries,
            num_layers=num_layers,
            hidden_dim=hidden_dim,
            num_heads=num_heads,
            mlp_dim=mlp_dim,
        )

    def num_tokens(self, num_features: int) -> int:
        return num_groups(num_features, self.window) * self.num_queries

    def sources(self, num_features: int) -> list[list[int]]:
        return [window for window in members(num_features, self.window) for _ in range(self.num_queries)]

    def forward(self, features: Features) -> Tensor:
        windows = group(features, self.window)  # (N, G, W, E)
        if not windows.numel():  # transformers' attention takes no empty batch
            return windows.new_zeros(len(windows), windows.shape[1] * self.num_queries, self.out_dim)  # (N, G * Q, D)
        found = self.qformer(Features(windows.flatten(0, 1), self._lengths(features)))  # (N * G, Q, D)
        rows: Tensor = found.unflatten(0, windows.shape[:2]).flatten(1, 2)  # (N, G * Q, D)
        return rows

    def _lengths(self, features: Features) -> Tensor | None:
        """(N * G,), how many features of each window are real; None where all are, and no mask is needed."""
        if features.lengths is None and features.features.shape[1] % self.window == 0:
            return None
        return group_lengths(features, self.window).flatten()  # (N * G,)
