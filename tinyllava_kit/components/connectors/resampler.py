"""The perceiver resampler of Flamingo (Alayrac et al. 2022), with the sizes and names of TinyLLaVA_Factory's.

Legend: N items, P features of an item, E tower width, D LLM width, Q queries, H heads, h head width.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinyllava_kit.core.interfaces import Connector, Features, Grid
from tinyllava_kit.errors import KitError
from tinyllava_kit.files.content import Layers


class Resampler(Connector):
    """Learned rows (latents) that attend to the features and to themselves, layer by layer.

    State-dict names are TinyLLaVA_Factory's without ``_connector.``.
    """

    def __init__(
        self, *, in_dim: int, out_dim: int, grid: Grid | None = None, num_queries: int = 128, num_layers: Layers = 3
    ) -> None:
        super().__init__(in_dim=in_dim, out_dim=out_dim, grid=grid)
        if num_queries < 1 or num_layers < 1:
            raise KitError(
                f"resampler needs num_queries and num_layers of 1 or more, got {num_queries} and {num_layers}"
            )
        self.num_queries = num_queries
        self.linear = nn.Linear(in_dim, out_dim)
        self.latents = nn.Parameter(torch.empty(num_queries, out_dim))  # (Q, D)
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(out_dim), _feed_forward(out_dim)]) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(out_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fill the parameter that belongs to no submodule."""
        nn.init.normal_(self.latents)

    def num_tokens(self, num_features: int) -> int:
        return self.num_queries

    def forward(self, features: Features) -> Tensor:
        media = self.linear(features.features)  # (N, P, D)
        latents = self.latents.expand(len(media), -1, -1)  # (N, Q, D)
        mask = self._key_mask(features)
        for layer in self.layers:
            attention, feed_forward = layer.children()
            latents = latents + attention(media, latents, mask)  # (N, Q, D)
            latents = latents + feed_forward(latents)  # (N, Q, D)
        return self.norm(latents)  # (N, Q, D)

    def _key_mask(self, features: Features) -> Tensor | None:
        """(N, 1, 1, P + Q), True = keep; None where all features are real."""
        if features.lengths is None:
            return None
        at = torch.arange(features.features.shape[1], device=features.lengths.device)
        real = at < features.lengths[:, None]  # (N, P)
        return F.pad(real, (0, self.num_queries), value=True)[:, None, None, :]  # (N, 1, 1, P + Q)


class PerceiverAttention(nn.Module):
    """Latents ask; features and latents answer."""

    num_heads: ClassVar[int] = 8
    head_dim: ClassVar[int] = 64

    def __init__(self, dim: int) -> None:
        super().__init__()
        inner = self.num_heads * self.head_dim
        self.norm_media = nn.LayerNorm(dim)
        self.norm_latents = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)

    def forward(self, media: Tensor, latents: Tensor, mask: Tensor | None) -> Tensor:
        """Media (N, P, D), latents (N, Q, D), mask (N, 1, 1, P + Q) with True = keep -> (N, Q, D)."""
        latents = self.norm_latents(latents)  # (N, Q, D)
        keys = torch.cat([self.norm_media(media), latents], dim=1)  # (N, P + Q, D)
        query, (key, value) = self.to_q(latents), self.to_kv(keys).chunk(2, dim=-1)
        found = F.scaled_dot_product_attention(
            self._heads(query), self._heads(key), self._heads(value), attn_mask=mask
        )  # (N, H, Q, h)
        return self.to_out(found.transpose(1, 2).flatten(2))  # (N, Q, D)

    def _heads(self, rows: Tensor) -> Tensor:
        return rows.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)  # (N, H, rows, h)


def _feed_forward(dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(dim), nn.Linear(dim, 4 * dim, bias=False), nn.GELU(), nn.Linear(4 * dim, dim, bias=False)
    )
