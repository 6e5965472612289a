"""Learning from the LLM that reads in words what the model gets as an item.

The method is Ultravox's (fixie-ai) and DiVA's (Held et al. 2024): the same frozen LLM is the teacher, once more with
an item's text in the item's place. Both sequences end in the same answer, so their label positions correspond. Items
without a text stay for the teacher too: asked about a picture in writing, it teaches to answer the spoken question.

Legend: n target rows of a batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from ...core.conversation import Item
from ...data.dataset import Collator, ConversationDataset
from ...errors import KitError
from ...processing.batch import Batch
from ...processing.encoded import Encoded, Parts
from ..stage_settings import Distill


class DistillationDataset(Dataset[Any]):
    """Each sample twice: unchanged, and with the text of each item in its place where the text is known.

    Raises:
        KitError: no item of a conversation has a text; names the conversation.
    """

    def __init__(self, dataset: ConversationDataset) -> None:
        self.dataset = dataset
        for conversation in dataset.conversations:
            if all(item.text is None for item in conversation.items):
                raise KitError(
                    f"{conversation.name}: no item has a text to distill from; use 'pairs', or write a part as "
                    "{'type': ..., 'path': ..., 'text': ...}"
                )

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Encoded, Encoded]:
        conversation = self.dataset.conversations[index]
        return self.dataset[index], self.dataset.processor.encode(conversation, reader=self._in_words)

    def _in_words(self, item: Item) -> Parts:
        """A reader that puts an item's text in its place."""
        if item.text is not None:
            return [item.text]
        return (self.dataset.reader or self.dataset.processor.read_item)(item)


class DistillationCollator:
    """Samples of a `DistillationDataset` -> a batch with the teacher's under ``teacher``."""

    def __init__(self, collate: Collator) -> None:
        self.collate = collate

    @property
    def num_cut(self) -> int:
        return self.collate.num_cut

    def __call__(self, samples: Sequence[tuple[Encoded, Encoded]]) -> Batch:
        batch = self.collate([heard for heard, _ in samples])
        teacher = self.collate([read for _, read in samples])
        heard, read = len(batch["plan"].target_positions), len(teacher["plan"].target_positions)
        if heard != read:
            raise KitError(
                f"{samples[0][0].name} and others: {heard} target tokens with items and {read} with their texts; "
                "raise max_length so that no answer is cut"
            )
        batch["teacher"] = teacher
        return batch


def distillation_loss(model: Any, batch: dict[str, Any], num_items: Tensor | int | None, *, how: Distill) -> Tensor:
    """Temperature-softened KL divergence from the teacher, mixed with the cross-entropy; averaged over target tokens.

    Args:
        model: `TinyLlavaForConditionalGeneration`, perhaps wrapped.
        batch: of a `DistillationCollator`.
        num_items: target tokens of the whole step; the batch's own where None.
        how: temperature and weight.
    """
    teacher = batch.pop("teacher")
    with torch.no_grad():
        taught = model(**teacher, logits_to_keep="targets").logits  # (n, V)
    output = model(**batch, logits_to_keep="targets", num_items_in_batch=num_items)
    divergence = soft_divergence(output.logits, taught, how.temperature)
    count = len(taught) if num_items is None else num_items
    return how.weight * divergence / count + (1 - how.weight) * output.loss


def soft_divergence(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """T² KL(teacher || student) of softened distributions, summed over rows: (n, V), (n, V) -> ()."""
    student = F.log_softmax(logits.float() / temperature, -1)
    teacher = F.log_softmax(taught.float() / temperature, -1)
    return F.kl_div(student, teacher, log_target=True, reduction="sum") * temperature**2
