"""Batches from rows that are read when they are needed, in an order that a seed decides."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from torch.utils.data import IterableDataset, get_worker_info

from ..core.conversation import Conversation
from ..errors import KitError
from ..processing.encoded import Encoded
from ..processing.processor import TinyLlavaProcessor
from .dataset import conversations_of, encode_or_skip
from .rows import Row
from .skipping import OptionalConversation, SkippedRow, SkippedRows
from .sources import Source

T = TypeVar("T")


class RowStream(IterableDataset[Any]):
    """An endless sequence of rows, cut into batches of `Encoded` conversations; each process makes its own.

    The sequence depends on the sources and the seed alone. A source begins anew, in another order, when it is at its
    end; where there are several, each row is drawn from one of them by weight. Batch number b of the sequence belongs
    to rank ``b % ranks``, and its number ``b // ranks`` there to the worker whose turn it is; so the batches that a
    rank gets, and their order, do not depend on its number of workers. Every process reads all rows, and decodes the
    items of its own batches alone.

    Args:
        sources: those without `stream` are held in memory.
        processor: of the model.
        batch_size: rows of a batch.
        seed: of the order and of the draws.
        skipped: gets the rows that sources with ``on_error: skip`` leave out.
        in_words: put each item's text in its place.
        rank: of this process among `ranks`.

    Raises:
        KitError: a source with `repeat`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        processor: TinyLlavaProcessor,
        *,
        batch_size: int,
        seed: int = 0,
        skipped: SkippedRows | None = None,
        in_words: bool = False,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        for source in sources:
            if source.repeat > 1:
                raise KitError(f"{source.name}: a stream has no epochs that repeat could count; give it a weight")
        self.sources, self.processor, self.batch_size, self.seed = sources, processor, batch_size, seed
        self.skipped = SkippedRows() if skipped is None else skipped
        self.in_words, self.rank, self.ranks = in_words, rank, ranks
        self.start = 0  # how many batches this rank used before the run was resumed

    def __iter__(self) -> Iterator[list[Encoded]]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        first, step = (self.start + worker) * self.ranks + self.rank, workers * self.ranks
        for batch in itertools.islice(_batched(self.rows(), self.batch_size), first, None, step):
            yield [self._encoded(rows, source, number) for rows, source, number in batch]

    def rows(self) -> Iterator[tuple[list[Row], Source, int]]:
        """The sequence: the rows of a conversation (one, or those of several pairs), their source, the first's number.

        Raises:
            KitError: a source that cannot be read or has no rows.
        """
        draw = random.Random(f"{self.seed} sources")
        streams = [self._endless(source, number) for number, source in enumerate(self.sources)]
        weights = [source.weight or 1.0 for source in self.sources]
        while True:
            (number,) = draw.choices(range(len(streams)), weights) if len(streams) > 1 else (0,)
            yield next(streams[number])

    def first_conversations(self, count: int) -> Iterator[Conversation]:
        """Of some `count` rows, the first of each file; none of what cannot be read or used, or comes from the hub."""
        files = [shard for source in self.sources for shard in source.shards() if os.path.exists(shard.file)]
        each = -(-count // max(len(files), 1))
        for shard in files:
            limit = shard.source.limit
            with suppress(KitError):  # a file that is damaged
                for row in itertools.islice(shard, each if limit is None else min(each, limit)):
                    ((_, make),) = conversations_of([row], shard.source, self.processor, in_words=self.in_words)
                    with suppress(KitError):
                        yield make()

    def _endless(self, source: Source, number: int) -> Iterator[tuple[list[Row], Source, int]]:
        turns = 1 if source.pairs is None else source.pairs.turns
        held = None if source.stream else source.rows()
        for times in itertools.count():
            draw = random.Random(f"{self.seed} {number} {times}")
            rows = _one_pass(source, draw) if held is None else iter(draw.sample(held, len(held)))
            at = 0
            for together in _batched(rows, turns):
                yield together, source, at
                at += len(together)
            if not at:
                raise KitError(f"{source.name}: has no rows")

    def _encoded(self, rows: list[Row], source: Source, number: int) -> Encoded:
        ((label, make),) = conversations_of(rows, source, self.processor, first=number, in_words=self.in_words)
        if source.on_error == "error":
            return self.processor.encode(make())
        conversation: Conversation | None = None
        with self.skipped.catching(label):
            conversation = make()
        if conversation is None:
            return SkippedRow.named(label, self.processor.pad_id)
        optional = OptionalConversation(conversation.turns, conversation.items, conversation.name)
        return encode_or_skip(optional, self.processor, self.skipped)


def _one_pass(source: Source, draw: random.Random) -> Iterator[Row]:
    """A source's rows once, in a new order: its files shuffled, then each row drawn among `shuffle` of them."""
    shards = source.shards()
    if source.limit is None and source.shuffle > 1:
        draw.shuffle(shards)
    rows = itertools.islice(itertools.chain.from_iterable(shards), source.limit)
    waiting = list(itertools.islice(rows, source.shuffle))
    for row in rows:
        place = draw.randrange(len(waiting))
        yield waiting[place]
        waiting[place] = row
    draw.shuffle(waiting)  # of one row, nothing
    yield from waiting


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; the last may be shorter."""
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch
