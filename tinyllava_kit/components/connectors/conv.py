"""Strided convolutions along the sequence, then an MLP.

Legend: N items, P features of an item, E tower width, D LLM width, P' = (P - 1) // 2 + 1.
"""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor, nn
from torch.nn import functional as F

from tinyllava_kit.core.interfaces import Connector, Features, Grid
from tinyllava_kit.files.content import Layers

from .sequence import check_positive, normed_mlp, zero_padding

Count = TypeVar("Count", int, Tensor)


class ConvMLP(Connector):
    """`num_layers` times a convolution over 3 neighbours with stride 2 and GELU; normalised, and two linear layers.

    The convolution is that of Whisper's front end (Radford et al. 2022). Padding is made zero before each layer, as
    torch's own at the ends is: what one layer writes past an item's end, its bias alone, is no feature for the next.
    The default of 2 makes 12.5 rows a second from the usual 50.

    Raises:
        KitError: `num_layers` below 1, `hidden_dim` below 0.
    """

    def __init__(
        self, *, in_dim: int, out_dim: int, grid: Grid | None = None, num_layers: Layers = 2, hidden_dim: int = 0
    ) -> None:
        super().__init__(in_dim=in_dim, out_dim=out_dim, grid=grid)
        check_positive("conv_mlp", num_layers=num_layers, hidden_dim=hidden_dim or out_dim)
        self.convs = nn.ModuleList(
            nn.Conv1d(in_dim, in_dim, kernel_size=3, stride=2, padding=1) for _ in range(num_layers)
        )
        self.mlp = normed_mlp(in_dim, hidden_dim, out_dim)

    def num_tokens(self, num_features: int) -> int:
        for _ in self.convs:
            num_features = _halved(num_features)
        return num_features

    def sources(self, num_features: int) -> list[list[int]]:
        """What each row's kernels reach."""
        reach = [{feature} for feature in range(num_features)]
        for _ in self.convs:
            reach = [set().union(*reach[max(at - 1, 0) : at + 2]) for at in range(0, len(reach), 2)]
        return [sorted(features) for features in reach]

    def forward(self, features: Features) -> Tensor:
        # torch convolves no empty sequence
        for conv in self.convs if features.features.shape[1] else ():
            rows = zero_padding(features).transpose(1, 2)  # (N, E, P)
            rows = F.gelu(conv(rows)).transpose(1, 2)  # (N, P', E)
            lengths = None if features.lengths is None else _halved(features.lengths)
            features = Features(rows, lengths)
        out: Tensor = self.mlp(features.features)  # (N, P', D)
        return out


def _halved(count: Count) -> Count:
    """How many places a kernel of 3 with stride 2 has on `count` features with one zero at each end; 0 on none."""
    return (count - 1) // 2 + 1
