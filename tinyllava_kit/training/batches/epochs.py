"""Batches of every epoch, dealt to the processes of a distributed run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from torch.utils.data import Sampler

from ...errors import KitError
from .packing import PackedBatches
from .sized import SizedBatches


class Epochs(Sampler[list[Any]]):
    """The batches of so many epochs behind one another.

    An epoch may have a batch more or fewer than another; counted from the first on, a batch has one number, and a run
    that was interrupted finds its place.

    Args:
        batches: draws an epoch when told its number.
        epochs: how many; of a part of one, the first batches.
        processes: that share them, batch after batch in turn. Some are then halved, so that each gets as many and
            every sample is seen once.

    Raises:
        KitError: an epoch has fewer samples than there are processes.
    """

    def __init__(self, batches: SizedBatches | PackedBatches, epochs: float, processes: int = 1) -> None:
        self.batches, self.epochs, self.processes = batches, epochs, processes
        self.lengths = []
        for epoch in range(math.ceil(epochs)):
            batches.set_epoch(epoch)
            self.lengths.append(math.ceil(len(batches) * min(1.0, epochs - epoch)))

    def __iter__(self) -> Iterator[list[Any]]:
        for epoch, length in enumerate(self.lengths):
            self.batches.set_epoch(epoch)
            yield from in_turn(list(islice(self.batches, length)), self.processes)

    def __len__(self) -> int:
        return sum(math.ceil(length / self.processes) * self.processes for length in self.lengths)


def in_turn(batches: Sequence[list[Any]], processes: int) -> list[list[Any]]:
    """The same samples in a number of batches that `processes` divides; the largest are halved, and last packed rows.

    Example:
        >>> in_turn([[1, 2, 3], [4], [5]], 2)
        [[1, 2], [3], [4], [5]]
        >>> in_turn([[(1,)], [(2, 3, 4)], [(5, 6)]], 2)
        [[(1,)], [(2, 3)], [(4,)], [(5, 6)]]

    Raises:
        KitError: there are fewer samples than processes.
    """
    found = [list(batch) for batch in batches]
    while len(found) % processes:
        place = max(range(len(found)), key=lambda i: (len(found[i]), _num_samples(found[i])))
        first, second = _halved(found[place])
        if not second:
            raise KitError(f"{len(found)} batches of one sample cannot be shared by {processes} processes; start fewer")
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
