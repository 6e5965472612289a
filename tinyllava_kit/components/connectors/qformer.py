"""The Q-Former of BLIP-2 (Li et al. 2023), transformers' own, as a connector.

Legend: N items, P features of an item, D LLM width, Q queries, W the Q-Former's own width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from tinyllava_kit.core.interfaces import Connector, Features, Grid
from tinyllava_kit.errors import KitError
from tinyllava_kit.files.content import Layers


class QFormer(Connector):
    """Learned rows that attend to each other and, in every other layer, to the features."""

    def __init__(
        self,
        *,
        in_dim: int,
        out_dim: int,
        grid: Grid | None = None,
        num_queries: int = 128,
        num_layers: Layers = 12,
        hidden_dim: int = 768,
        num_heads: int = 12,
        mlp_dim: int = 3072,
    ) -> None:
        super().__init__(in_dim=in_dim, out_dim=out_dim, grid=grid)
        if min(num_queries, num_layers, hidden_dim, num_heads, mlp_dim) < 1 or hidden_dim % num_heads:
            raise KitError(
                "a Q-Former needs sizes of 1 or more and a hidden_dim that num_heads divides, got "
                f"num_queries={num_queries}, num_layers={num_layers}, hidden_dim={hidden_dim}, num_heads={num_heads}, "
                f"mlp_dim={mlp_dim}"
            )
        self.num_queries = num_queries
        config = Blip2QFormerConfig(
            hidden_size=hidden_dim,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            intermediate_size=mlp_dim,
            encoder_hidden_size=in_dim,
        )
        self.query_tokens = nn.Parameter(torch.empty(1, num_queries, hidden_dim))  # (1, Q, W)
        self.qformer = Blip2QFormerModel(config)
        self.projector = nn.Linear(hidden_dim, out_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fill the parameter that belongs to no submodule."""
        nn.init.normal_(self.query_tokens, std=self.qformer.config.initializer_range)

    def num_tokens(self, num_features: int) -> int:
        return self.num_queries

    def forward(self, features: Features) -> Tensor:
        queries = self.query_tokens.expand(len(features.features), -1, -1)  # (N, Q, W)
        found = self.qformer(
            query_embeds=queries,
            encoder_hidden_states=features.features,
            encoder_attention_mask=self._key_mask(features),
        ).last_hidden_state  # (N, Q, W)
        rows: Tensor = self.projector(found)  # (N, Q, D)
        return rows

    def _key_mask(self, features: Features) -> Tensor | None:
        """(N, 1, Q, P), added to the scores; None where all features are real.

        A mask of four dimensions is taken unchanged; of one with two, transformers would ask the device whether it
        masks anything at all. Added, not boolean: so it fits eager attention too. An item without features
        sees its first, empty one: a softmax over nothing would be NaN.
        """
        if features.lengths is None:
            return None
        dtype = self.query_tokens.dtype
        at = torch.arange(features.features.shape[1], device=features.lengths.device)
        padding = at >= features.lengths[:, None].clamp(min=1)  # (N, P)
        mask = torch.zeros_like(padding, dtype=dtype).masked_fill(padding, torch.finfo(dtype).min)  # (N, P)
        return mask[:, None, None, :].expand(-1, -1, self.num_queries, -1)  # (N, 1, Q, P)

    @classmethod
    def from_factory_keys(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """TinyLLaVA_Factory's state (without ``_connector.``) under our names.

        Its Q-Former is a vendored BERT whose first LayerNorm has no weight and no bias; ours gets 1 and 0.
        """
        renamed = {"layernorm.weight": torch.ones, "layernorm.bias": torch.zeros}
        width = state["query_tokens"].shape[-1]
        out = {f"qformer.{key}": make(width).to(state["query_tokens"]) for key, make in renamed.items()}
        for key, value in state.items():
            if key.startswith("bert.embeddings."):
                continue
            key = key.replace("attention.self.", "attention.attention.")
            out["qformer." + key.removeprefix("bert.") if key.startswith("bert.") else key] = value
        return out
