"""The loss: of the text, of the ids that decoders write, and of the items that they make of words.

Legend: B rows of the batch, T positions, N items, P words of the longest, D width of the LLM, V vocabulary,
n positions that have a target, g of them in a group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.decoders import AnswerStates, Losses
from ..core.ids import NO_ID, TEXT
from ..core.plan import GeneratedItems, Plan
from ..errors import FusionError
from .logits import Logits
from .vocabulary.target_ids import targets_of


class GroupLosses(Logits):
    """The losses of a model, group by group: the text, and what its decoders learn."""

    def _learn(
        self,
        hidden: Tensor,
        embeds: Tensor,
        input_ids: Tensor | None,
        labels: Tensor,
        plan: Plan,
        targets: Mapping[str, Tensor] | None,
        num_items: Tensor | int | None,
        text_logits: Tensor | None = None,
    ) -> dict[str, Any]:
        """The fields of the output that hold losses: hidden and embeds (B, T, D), ids and labels (B, T).

        Args:
            input_ids: of models whose decoders have ids.
            targets: as `targets_of` gives them, which finds them when not given.
            text_logits: (n, V) of the target positions, where they are there already; of models of text alone.

        Raises:
            FusionError: there are none; or no target is in the batch, and the step does not say how many it has.
        """
        rows = plan.target_positions
        assert rows is not None  # of a batch with labels
        previous = None if input_ids is None else input_ids.flatten().index_select(0, rows)  # (n,)
        if self.extension is not None and previous is None:
            raise FusionError("a model whose decoders have ids learns from input_ids; give them in place of embeddings")
        if targets is None:
            grammar = None if self.extension is None else self.extension.grammar
            targets = targets_of(plan, previous, grammar, self.hidden_decoders())
        states = hidden.flatten(0, 1).index_select(0, rows)  # (n, D)
        following = labels.flatten().index_select(0, rows + 1)  # (n,)
        losses = self._written_losses(states, previous, following, plan.target_parallel, targets, text_logits)
        at_positions = hidden.new_zeros(len(rows), dtype=torch.float32)  # (n,)
        for group, (each, _) in losses.items():
            at_positions.index_add_(0, targets[group], each.detach())
        losses |= self._generated_losses(hidden, embeds, plan, targets)
        in_order = {group: losses[group] for group in targets}
        fields: dict[str, Any] = {"target_losses": at_positions}
        fields["loss"] = mean_of_groups(in_order, self.loss_weights(), len(rows), num_items)
        if len(in_order) > 1:
            fields["loss"] = fields["loss"] + self._dummy_decoders(plan)
            fields["target_groups"] = {group: (each.detach(), hits) for group, (each, hits) in in_order.items()}
        return fields

    def _written_losses(
        self,
        hidden: Tensor,
        previous: Tensor | None,
        following: Tensor,
        parallel_ids: Tensor | None,
        targets: Mapping[str, Tensor],
        text_logits: Tensor | None,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Those of what the LLM writes: hidden (n, D), ids there and behind (n,), parallel ids behind (n, K)."""
        if self.extension is None or previous is None:
            logits = (self._head(hidden) if text_logits is None else text_logits).float()  # (n, V)
            alone = len(targets) == 1  # then nobody reads the hits, and they are not computed
            hits = torch.empty_like(following, dtype=torch.bool) if alone else logits.argmax(-1) == following  # (n,)
            return {TEXT: (F.cross_entropy(logits, following, reduction="none"), hits)}
        mine = {group: targets[group] for group in self.extension.grammar.groups}
        return dict(self.extension.losses(self._head, hidden, previous, following, parallel_ids, mine))

    def _generated_losses(
        self, hidden: Tensor, embeds: Tensor, plan: Plan, targets: Mapping[str, Tensor]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Those of the items that decoders make of words: hidden and embeds (B, T, D)."""
        nothing = hidden.new_zeros(0, dtype=torch.float32)
        losses = {}
        for modality, maker in self.hidden_decoders().items():
            found: Losses = dict.fromkeys(maker.loss_weights, (nothing, nothing.bool()))
            if modality in plan.generated:
                items = plan.generated[modality]
                mine = {group: targets[f"{modality}.{group}"] for group in maker.loss_weights}
                found = maker.losses(answer_states_of(items, hidden, embeds), items.ids, mine)
            losses.update({f"{modality}.{group}": each for group, each in found.items()})
        return losses

    def _dummy_decoders(self, plan: Plan) -> Tensor | float:
        """Zero, in the graph of the decoders that have no item in the batch while the model is trained."""
        if not (self.training and torch.is_grad_enabled()):
            return 0.0
        others = (maker for modality, maker in self.hidden_decoders().items() if modality not in plan.generated)
        return sum((maker.dummy() for maker in others), 0.0)

    def loss_weights(self) -> dict[str, float]:
        """What the mean loss of each group of ids counts in the loss, see `targets` in `forward`."""
        weights = {TEXT: 1.0} if self.extension is None else dict(self.extension.weights)
        for modality, maker in self.hidden_decoders().items():
            weights.update({f"{modality}.{group}": weight for group, weight in maker.loss_weights.items()})
        return weights


def mean_of_groups(
    losses: Losses, weights: Mapping[str, float], num_positions: int, num_items: Tensor | int | None
) -> Tensor:
    """The mean loss of each group, weighted and added, ().

    Args:
        losses: of all groups.
        num_positions: how many of the batch have a target.
        num_items: how many targets the whole step has, of each group in the order of `losses`; a single number is of
            the positions that have a target, and each of several groups is then averaged over the batch; None: over
            the batch.

    Raises:
        FusionError: there is none to average over.
    """
    if num_items is None and not num_positions:
        raise FusionError("no position of the batch has a label; there is nothing to learn from it")
    by_group = list(num_items) if isinstance(num_items, Tensor) and num_items.ndim > 0 else None
    if by_group is None and num_items is not None and len(losses) == 1:
        by_group = [num_items]
    means = []
    for index, (group, (mine, _)) in enumerate(losses.items()):
        whole = len(mine) if by_group is None else by_group[index]
        whole = whole.to(mine.device).clamp(min=1) if isinstance(whole, Tensor) else max(whole, 1)
        means.append(weights[group] * mine.sum() / whole)
    loss = torch.stack(means).sum()
    return loss if num_items is None or by_group is not None else loss * num_positions / num_items


def answer_states_of(generated: GeneratedItems, hidden: Tensor, embeds: Tensor) -> AnswerStates:
    """The words of items in a batch: hidden and embeds (B, T, D) -> (N, P, D) each."""
    rows = generated.words.clamp(min=0)  # (N, P)
    return AnswerStates(hidden.flatten(0, 1)[rows], embeds.flatten(0, 1)[rows], generated.words != NO_ID)
