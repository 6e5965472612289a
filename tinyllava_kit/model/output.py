"""What a model returns.

Legend: B rows of the batch, T positions, N items, D width of the LLM, V vocabulary, n positions that have a target,
g of them in a group.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers.modeling_outputs import CausalLMOutputWithPast

from ..core.interfaces import Features


@dataclass
class TinyLlavaOutput(CausalLMOutputWithPast):
    """What `TinyLlavaForConditionalGeneration.forward` returns.

    loss: () mean cross-entropy over the target tokens, where labels were given.
    logits: (B, T, V), or what `logits_to_keep` says; with "targets" (n, V), those at ``plan.target_positions``. None
        while training with labels, where only the rows with a target are computed.
    parallel_logits: of models with streams, the logits of each for the position behind, (B, T, its size), where
        `logits` are.
    target_losses: (n,) float32 without a graph, the cross-entropy at each of ``plan.target_positions``, of all ids
        there.
    target_groups: group -> its losses without a graph, and whether the label was the likeliest id there, (g,) each; of
        models with decoders that learn.
    item_features, item_embeddings: modality -> what the tower made, and the connector of it, (N, P', D); where items
        were given and no text.
    """

    parallel_logits: tuple[Tensor, ...] | None = None
    target_losses: Tensor | None = None
    target_groups: dict[str, tuple[Tensor, Tensor]] | None = None
    item_features: dict[str, Features] | None = None
    item_embeddings: dict[str, Tensor] | None = None
