"""The loss: of the text, of the ids that decoders write, and of the items that they make of words.

Legend: B rows of the batch, T positions, N items, P words of the longest, D width of the LLM, V vocabulary,
n positions that have a target, g of them in a group.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.decoders import AnswerStates, Losses
from ..core.ids import NO_ID, TEXT
from ..core.plan import GeneratedItems, Plan
from ..errors import FusionError
from .output import TinyLlavaOutput
from .vocabulary.extension import mean_of_groups


class GroupLosses:
    """The losses of a model whose decoders learn, group by group."""

    def _learn(
        self,
        output: TinyLlavaOutput,
        hidden: Tensor,
        embeds: Tensor,
        labels: Tensor,
        plan: Plan,
        targets: Mapping[str, Tensor],
        num_items: Tensor | int | None,
        return_target_logits: bool,
    ) -> None:
        """Give the output its losses, of a model whose decoders learn: hidden and embeds (B, T, D), labels (B, T)."""
        rows = plan.target_positions
        mine = hidden.flatten(0, 1).index_select(0, rows)  # (n, D)
        following = labels.flatten().index_select(0, rows + 1)  # (n,)
        losses = self._losses(mine, following, plan, targets)
        output.target_losses = mine.new_zeros(len(mine), dtype=torch.float32)  # (n,)
        for group, (each, _) in losses.items():
            output.target_losses.index_add_(0, targets[group], each.detach())
        losses |= self._generated_losses(hidden, embeds, plan, targets)
        in_order = {group: losses[group] for group in targets}
        output.loss = mean_of_groups(in_order, self.loss_weights(), len(rows), num_items) + self._dummy_decoders(plan)
        output.target_groups = {group: (each.detach(), hits) for group, (each, hits) in in_order.items()}
        if return_target_logits:
            output.target_logits = self._all_logits(mine)  # (n, V)

    def _losses(
        self, hidden: Tensor, following: Tensor, plan: Plan, targets: Mapping[str, Tensor]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Those of what the LLM writes: hidden (n, D) of the target rows, following (n,) the ids there."""
        if self.extension is None:
            logits = self._head(hidden).float()  # (n, V)
            return {TEXT: (F.cross_entropy(logits, following, reduction="none"), logits.argmax(-1) == following)}
        previous = plan.input_ids.flatten().index_select(0, plan.target_positions)  # (n,)
        mine = {group: targets[group] for group in self.extension.grammar.groups}
        return dict(self.extension.losses(self._head, hidden, previous, following, plan.target_parallel, mine))

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
        return sum(
            (maker.dummy() for modality, maker in self.hidden_decoders().items() if modality not in plan.generated), 0.0
        )

    def loss_weights(self) -> dict[str, float]:
        """What the mean loss of each group of ids counts in the loss, see `targets` in `forward`."""
        weights = {TEXT: 1.0} if self.extension is None else dict(self.extension.weights)
        for modality, maker in self.hidden_decoders().items():
            weights.update({f"{modality}.{group}": weight for group, weight in maker.loss_weights.items()})
        return weights


def target_losses(logits: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
    """Cross-entropy of the logits (n, V) of positions `rows` against the labels (B, T) that follow them -> (n,)."""
    return F.cross_entropy(logits.float(), labels.flatten().index_select(0, rows + 1), reduction="none")  # (n,)


def mean_loss(losses: Tensor, num_items: Tensor | int | None) -> Tensor:
    """The losses (n,) averaged over `num_items` target tokens, or over themselves.

    Raises:
        FusionError: there is none to average over.
    """
    if num_items is not None:
        return losses.sum() / (num_items.to(losses.device) if isinstance(num_items, Tensor) else num_items)
    if not losses.shape[0]:
        raise FusionError("no position of the batch has a label; there is nothing to learn from it")
    return losses.mean()


def answer_states_of(generated: GeneratedItems, hidden: Tensor, embeds: Tensor) -> AnswerStates:
    """The words of items in a batch: hidden and embeds (B, T, D) -> (N, P, D) each."""
    rows = generated.words.clamp(min=0)  # (N, P)
    return AnswerStates(hidden.flatten(0, 1)[rows], embeds.flatten(0, 1)[rows], generated.words != NO_ID)
