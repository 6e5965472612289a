"""Batches of samples of like size, none larger than a budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch.utils.data import Sampler

from ...core.conversation import Conversation, naming
from ...core.interfaces import Modality
from ...errors import KitError, near
from ...terminal.counting import counting
from .size import Measures, sample_order

if TYPE_CHECKING:
    pass


CHUNK = 50  # batches whose samples are sorted together: wide enough to pad little, narrow enough to stay random


class SizedBatches(Sampler[list[int]]):
    """Draws the samples in a new order each epoch, sorts them by size within chunks, cuts where a batch is full.

    A batch costs what its padded tensors do: the number of its samples times the largest of them, in each modality.

    Args:
        sizes: of each sample, modality -> size in the modality's unit.
        text_sizes: of each sample, the length of its text; orders samples that are equal otherwise.
        budget: modality -> the most that a batch may cost. A sample that is larger alone makes a batch of its own.
        batch_size: the most samples of a batch.
        seed: of the order; the order of an epoch depends on nothing else.
    """

    def __init__(
        self,
        sizes: Sequence[Measures],
        text_sizes: Sequence[int],
        *,
        batch_size: int,
        budget: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        self.sizes, self.text_sizes = sizes, text_sizes
        self.batch_size, self.budget, self.seed = batch_size, dict(budget or {}), seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the batches of an epoch."""
        self.batches = sample_order(len(self.sizes), CHUNK * self.batch_size, self.seed, epoch, self._cut)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)

    def fits(self, batch: Sequence[int]) -> bool:
        """Whether the padded samples stay within the batch size and the budget."""
        costs = {m: len(batch) * max(self.sizes[i].get(m, 0.0) for i in batch) for m in self.budget}
        return len(batch) <= self.batch_size and all(costs[m] <= self.budget[m] for m in costs)

    def _cut(self, chunk: Sequence[int]) -> Iterator[list[int]]:
        """Samples of like size behind one another, cut where a batch is full."""
        batch: list[int] = []
        for index in sorted(chunk, key=self._key):
            if batch and not self.fits([*batch, index]):
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    def _key(self, index: int) -> tuple[float, int]:
        return sum(self.sizes[index].values()), self.text_sizes[index]


def sizes_of(conversations: Sequence[Conversation], modalities: Mapping[str, Modality]) -> list[Measures]:
    """How large each conversation's items are, modality by modality, without decoding them.

    Raises:
        KitError: a file is missing or of the wrong kind; names the row, too.
    """
    known: dict[Any, float] = {}
    sizes: list[Measures] = []
    with counting("measuring items", len(conversations), "samples") as advance:
        for conversation in conversations:
            size: dict[str, float] = {}
            for item in conversation.items:
                key = item.key
                if key not in known:
                    with naming(item):
                        known[key] = modalities[item.modality].measure(item.source)
                size[item.modality] = size.get(item.modality, 0.0) + known[key]
            sizes.append(size)
            advance(1)
    return sizes


def check_budget(key: str, budget: Mapping[str, float], modalities: Mapping[str, Modality]) -> None:
    """Check that every modality of a batch's budget is one of the model's.

    Args:
        key: of the budget in the recipe.

    Raises:
        KitError: a budget for a modality that the model does not have.
    """
    for name in budget:
        if name not in modalities:
            raise KitError(f"{key}.{name}: the model has no such modality; {near(name, list(modalities))}")
