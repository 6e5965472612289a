"""Batches of samples of like size, none larger than a budget."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from torch.utils.data import Sampler

from ..core.conversation import Conversation, Item
from ..core.errors import KitError, near
from ..core.interfaces import Modality
from ..inference.features import item_key

if TYPE_CHECKING:
    from .packing import PackedBatches

Size = Mapping[str, float]
Group = TypeVar("Group")

CHUNK = 50  # batches whose samples are sorted together: wide enough to pad little, narrow enough to stay random


class SizedBatches(Sampler[list[int]]):
    """Draws the samples in a new order each epoch, sorts them by size within chunks, cuts where a batch is full.

    A batch costs what its padded tensors do: the number of its samples times the largest of them, in each modality.

    Args:
        sizes: of each sample, modality -> size in the modality's unit.
        text_sizes: of each sample, the length of its text; sorts what is equal otherwise.
        budget: modality -> the most that a batch may cost. A sample that is larger alone makes a batch of its own.
        batch_size: the most samples of a batch.
        seed: of the order; the order of an epoch depends on nothing else.
    """

    def __init__(
        self,
        sizes: Sequence[Size],
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
        self.batches = drawn(len(self.sizes), CHUNK * self.batch_size, self.seed, epoch, self._cut)

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


def drawn(
    count: int, window: int, seed: int, epoch: int, group: Callable[[Sequence[int]], Iterable[Group]]
) -> list[Group]:
    """The samples of an epoch in an order of its own, grouped window by window, and the groups in another order.

    Args:
        count: of samples. window: how many are grouped together: as many as sizes want, as few as chance wants.
        group: indices of a window -> groups of them.
    """
    draw = random.Random(f"{seed} {epoch}")
    order = list(range(count))
    draw.shuffle(order)
    windows = (order[start : start + window] for start in range(0, count, window))
    groups = [each for part in windows for each in group(part)]
    draw.shuffle(groups)
    return groups


class Epochs(Sampler[list[Any]]):
    """The batches of so many epochs behind one another.

    An epoch may have a batch more or fewer than another; counted from the first on, a batch has one number, and a run
    that was interrupted finds its place.

    Args:
        batches: draws an epoch when told its number.
        epochs: how many; of a part of one, the first batches.
        ranks: processes that share them, batch after batch in turn. Some are then halved, so that each gets as many and
            every sample is seen once.

    Raises:
        KitError: an epoch has fewer samples than there are ranks.
    """

    def __init__(self, batches: SizedBatches | PackedBatches, epochs: float, ranks: int = 1) -> None:
        self.batches, self.epochs, self.ranks = batches, epochs, ranks
        self.lengths = []
        for epoch in range(math.ceil(epochs)):
            batches.set_epoch(epoch)
            self.lengths.append(math.ceil(len(batches) * min(1.0, epochs - epoch)))

    def __iter__(self) -> Iterator[list[Any]]:
        for epoch, length in enumerate(self.lengths):
            self.batches.set_epoch(epoch)
            yield from in_turn(list(islice(self.batches, length)), self.ranks)

    def __len__(self) -> int:
        return sum(math.ceil(length / self.ranks) * self.ranks for length in self.lengths)


def in_turn(batches: Sequence[list[Any]], ranks: int) -> list[list[Any]]:
    """The same samples in a number of batches that `ranks` divides: the largest are halved, and in the end packed rows.

    Example:
        >>> in_turn([[1, 2, 3], [4], [5]], 2)
        [[1, 2], [3], [4], [5]]
        >>> in_turn([[(1,)], [(2, 3, 4)], [(5, 6)]], 2)
        [[(1,)], [(2, 3)], [(4,)], [(5, 6)]]

    Raises:
        KitError: there are fewer samples than ranks.
    """
    found = [list(batch) for batch in batches]
    while len(found) % ranks:
        place = max(range(len(found)), key=lambda i: (len(found[i]), _num_samples(found[i])))
        first, second = _halved(found[place])
        if not second:
            raise KitError(f"{len(found)} batches of one sample cannot be shared by {ranks} processes; start fewer")
        found[place : place + 1] = [first, second]
    return found


def _num_samples(batch: Sequence[Any]) -> int:
    """Of a batch of samples or of packed rows."""
    return sum(len(each) if isinstance(each, tuple) else 1 for each in batch)


def _halved(batch: list[Any]) -> tuple[list[Any], list[Any]]:
    """Two parts of a batch; of one sample, the second is empty."""
    half = (len(batch) + 1) // 2
    if len(batch) == 1 and isinstance(batch[0], tuple) and len(batch[0]) > 1:
        (row,) = batch
        half = (len(row) + 1) // 2
        return [row[:half]], [row[half:]]
    return batch[:half], batch[half:]


def sizes_of(conversations: Sequence[Conversation], modalities: Mapping[str, Modality]) -> list[Size]:
    """How large each conversation's items are, modality by modality, without decoding them.

    Raises:
        KitError: a file is missing or of the wrong kind; names the row, too.
    """
    known: dict[Any, float] = {}
    sizes: list[Size] = []
    for conversation in conversations:
        size: dict[str, float] = {}
        for item in conversation.items:
            key = item_key(item)
            if key not in known:
                known[key] = _measured(item, modalities[item.modality])
            size[item.modality] = size.get(item.modality, 0.0) + known[key]
        sizes.append(size)
    return sizes


def _measured(item: Item, modality: Modality) -> float:
    try:
        return modality.measure(item.source)
    except KitError as error:
        raise KitError(f"{item.name}: {error}" if item.name else str(error)) from error


def check_budget(key: str, budget: Mapping[str, float], modalities: Mapping[str, Modality]) -> None:
    """
    Args:
        key: of the recipe, where the budget stands.

    Raises:
        KitError: a budget for a modality that the model does not read.
    """
    for name in budget:
        if name not in modalities:
            raise KitError(f"{key}.{name}: the model does not read it; {near(name, list(modalities))}")
