"""Samples packed into rows of one length, so that few positions are padding."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch.utils.data import DataLoader, Dataset, Sampler

from ...data.dataset import Collator, ConversationDataset
from ...processing.batch import Batch
from ...processing.encoded import Encoded
from ...terminal.counting import counting
from .size import Measures, sample_order

WINDOW = 2000  # samples that are packed together: enough of every length to fill rows, few enough to stay random

Pack = tuple[int, ...]  # indices of the samples of one row


def pack(
    tokens: Sequence[int], length: int, *, sizes: Sequence[Measures] = (), limits: Mapping[str, float] | None = None
) -> list[Pack]:
    """Samples into rows: the longest first, each where the least room stays (best fit decreasing, Johnson 1973).

    Example:
        >>> pack([5, 3, 4, 2], 7)
        [(0, 3), (2, 1)]

    Args:
        tokens: the positions that each sample takes.
        length: the most positions of a row. A sample that takes more is alone in its row.
        sizes: of each sample, modality -> size in the modality's unit. `limits`: the most of it in a row.
    """
    limits = limits or {}
    rows: list[list[int]] = []
    held: list[dict[str, float]] = []  # of each row, how much of each limited modality
    rooms: list[tuple[int, int]] = []  # (room, row), sorted
    for index in sorted(range(len(tokens)), key=lambda i: (-tokens[i], i)):
        size = {m: sizes[index].get(m, 0.0) for m in limits}
        at = bisect.bisect_left(rooms, (tokens[index], -1))
        fitting = (n for n in range(at, len(rooms)) if all(held[rooms[n][1]][m] + size[m] <= limits[m] for m in limits))
        place = next(fitting, None)
        if place is None:
            room, row = length, len(rows)
            rows.append([])
            held.append(dict.fromkeys(limits, 0.0))
        else:
            room, row = rooms.pop(place)
        rows[row].append(index)
        held[row] = {m: held[row][m] + size[m] for m in limits}
        bisect.insort(rooms, (room - tokens[index], row))
    return [tuple(row) for row in rows]


class PackedBatches(Sampler[list[Pack]]):
    """Draws the samples in a new order each epoch, packs them window by window, and makes batches of the rows.

    Args:
        tokens: the positions that each sample takes.
        length: the most positions of a row.
        batch_size: rows of a batch.
        sizes, limits: see `pack`.
        seed: of the order; the order of an epoch depends on nothing else.
    """

    def __init__(
        self,
        tokens: Sequence[int],
        length: int,
        *,
        batch_size: int,
        sizes: Sequence[Measures] = (),
        limits: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        self.tokens, self.length, self.batch_size = tokens, length, batch_size
        self.sizes, self.limits, self.seed = sizes, dict(limits or {}), seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the rows of an epoch."""
        self.packs = sample_order(len(self.tokens), WINDOW, self.seed, epoch, self._packed)

    def __iter__(self) -> Iterator[list[Pack]]:
        for start in range(0, len(self.packs), self.batch_size):
            yield self.packs[start : start + self.batch_size]

    def __len__(self) -> int:
        return -(-len(self.packs) // self.batch_size)

    @property
    def fill(self) -> float:
        """The share of the rows' positions that hold a sample's."""
        return sum(min(count, self.length) for count in self.tokens) / (self.length * len(self.packs))

    def _packed(self, window: Sequence[int]) -> Iterator[Pack]:
        sizes = [self.sizes[i] for i in window] if self.limits else ()
        for row in pack([self.tokens[i] for i in window], self.length, sizes=sizes, limits=self.limits):
            yield tuple(window[i] for i in row)


class PackedDataset(Dataset[Any]):
    """The samples of a row, given their indices."""

    def __init__(self, samples: ConversationDataset) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, row: Pack) -> list[Encoded]:
        return [self.samples[index] for index in row]


class PackedCollator:
    """Rows of samples -> a batch with labels.

    Raises:
        KitError: a batch in which nothing is left to learn.
    """

    def __init__(self, collator: Collator) -> None:
        self.collator = collator

    @property
    def num_cut(self) -> int:
        """How many samples were cut at `Collator.max_length`."""
        return self.collator.num_cut

    def __call__(self, rows: Sequence[Sequence[Encoded]]) -> Batch:
        return self.collator([sample for row in rows for sample in row], packs=[len(row) for row in rows])


def token_counts(dataset: ConversationDataset, max_length: int | None = None, *, workers: int = 0) -> list[int]:
    """How many positions each sample takes, at most `max_length`; files are opened, but not decoded.

    Args:
        workers: processes that read, beside this one.

    Raises:
        KitError: a file is missing or of the wrong kind; names the row.
    """
    loader = DataLoader(_Probes(dataset), batch_size=None, num_workers=workers)
    counts = []
    with counting("counting positions", len(dataset), "samples") as advance:
        for count in loader:
            counts.append(count if max_length is None else min(count, max_length))
            advance(1)
    return counts


class _Probes(Dataset[Any]):
    """The positions that each sample takes."""

    def __init__(self, dataset: ConversationDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> int:
        return self.dataset.processor.probe(self.dataset.conversations[index]).num_tokens
