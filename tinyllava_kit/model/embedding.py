"""Embeddings: the rows of items, and text through the table, all in their places.

Legend: B rows of the batch, T positions, N items, P' rows of an item, D width of the LLM, K parallel ids at a position.
"""

from __future__ import annotations

from collections.abc import Container

import torch
from torch import Tensor

from ..core.fusion import check_features, fuse, gather_features
from ..core.interfaces import Items
from ..core.plan import Plan
from ..errors import FusionError, KitError
from .item_encoding import ItemEncoding
from .offloading import at_hand
from .whole import Whole


class Embedder(ItemEncoding, Whole):
    """``embed`` of a model with towers and connectors."""

    def embed(
        self,
        input_ids: Tensor,
        items: Items | None = None,
        plan: Plan | None = None,
        parallel_ids: Tensor | None = None,
    ) -> Tensor:
        """The embeddings of a batch, items in their places: (B, T) -> (B, T, D).

        Args:
            parallel_ids: (B, T, K) the ids beside `input_ids`; those of the plan, where there is one.

        Raises:
            FusionError: what the towers and connectors made does not fit the plan.
        """
        if plan is None:
            return self._with_dummy_parts(self._look_up(input_ids, parallel_ids), ())  # (B, T, D)
        text = self._embed_text(input_ids, plan)  # (n_text, D)
        rows, items = {}, items or {}
        unexpected = [] if self.training else sorted(set(items) - set(plan.item_positions))  # dummy ones, in training
        if unexpected:
            raise FusionError(f"the batch brings {', '.join(unexpected)} items, and the plan has no place for them")
        for modality in plan.item_positions:
            if modality not in items:
                raise KitError(f"the plan has {modality} items, but the batch brings none")
            encoded = self.encode(modality, items[modality])  # (N, P', D)
            if not torch.compiler.is_compiling():
                check_features(plan, modality, encoded.shape)
            rows[modality] = gather_features(plan, modality, encoded)  # (R, D)
        return self._with_dummy_parts(fuse(plan, text, rows), rows, items)  # (B, T, D)

    def _look_up(self, ids: Tensor, parallel_ids: Tensor | None) -> Tensor:
        """Ids (...) and those beside them (..., K) -> (..., D)."""
        table = self.get_input_embeddings()
        if self.extension is None:
            embeds: Tensor = table(ids)  # (..., D)
            return embeds
        with at_hand(self.decoders):
            return self.extension.embed(table, ids, parallel_ids)

    def _embed_text(self, input_ids: Tensor, plan: Plan) -> Tensor:
        """The text of a batch, ids (B, T) -> (n_text, D), without the positions of items and padding."""
        if self.get_input_embeddings()._forward_hooks:  # which expect whole rows, (B, T, D): NEFTune's noise
            return self._look_up(input_ids, plan.parallel_ids).flatten(0, 1).index_select(0, plan.text_positions)
        parallel_ids = (
            None if plan.parallel_ids is None else plan.parallel_ids.flatten(0, 1).index_select(0, plan.text_positions)
        )
        return self._look_up(input_ids.flatten().index_select(0, plan.text_positions), parallel_ids)

    def _with_dummy_parts(self, embeds: Tensor, busy: Container[str], items: Items | None = None) -> Tensor:
        """The same embeddings (B, T, D), in a graph that also holds the trained weights of parts without items.

        Their gradient is then zero rather than none: a batch of text alone can be learned from when only a
        connector is trained, and every rank of a distributed step has the same gradients to reduce. Items that the plan
        has no place for are run, times zero: parts that are sharded must be called by every rank as often.
        """
        dummy_items = {m: inputs for m, inputs in (items or {}).items() if m not in busy}
        for modality, inputs in dummy_items.items():
            embeds = embeds + (self.encode(modality, inputs).flatten()[:1].sum() * 0).to(embeds.dtype)
        if not (self.training and torch.is_grad_enabled()):
            return embeds
        alone = [m for m in self.config.connectors or () if m not in busy and m not in dummy_items]
        dummy = (getattr(parts, m) for m in alone for parts in (self.towers, self.connectors))  # perhaps PEFT's wrapper
        zeros = [p.flatten()[:1].sum() * 0 for part in dummy for p in part.parameters() if p.requires_grad]
        return embeds + torch.stack(zeros).sum().to(embeds.dtype) if zeros else embeds
