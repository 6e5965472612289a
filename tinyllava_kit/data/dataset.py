"""A dataset of encoded conversations, and the collator that makes batches of them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from torch.utils.data import Dataset

from ..core.conversation import Conversation
from ..errors import KitError
from ..processing.batch import Batch
from ..processing.encoded import Encoded, ItemReader
from ..processing.processor import TinyLlavaProcessor
from .rows import Row, with_root
from .skipping import OptionalConversation, SkippedRow, SkippedRows
from .sources import Pairs, Source, asked, check_pairs, drawn, grouped, shares

T = TypeVar("T")


class ConversationDataset(Dataset[Any]):
    """Rows -> `Encoded` conversations with labels, made when asked for.

    Every row's form is checked when the dataset is made; its files are read when it is asked for.

    Args:
        rows: LLaVA rows or rows with messages.
        processor: of the model.
        name: the file's path, used in errors: its rows are ``NAME[0]`` and so on.
        reader: reads an item, in place of the processor (a feature cache).

    Raises:
        KitError: a row that is not a conversation.
    """

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        processor: TinyLlavaProcessor,
        *,
        name: str = "row",
        reader: ItemReader | None = None,
    ) -> None:
        self.processor = processor
        self.reader = reader
        self.skipped = SkippedRows()
        self.conversations: list[Conversation] = [
            processor.conversation(row, name=f"{name}[{index}]") for index, row in enumerate(rows)
        ]

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], processor: TinyLlavaProcessor, **how: Any) -> ConversationDataset:
        """From one file; `how` is what a `Source` says beside its path."""
        return cls.from_sources([Source(path=str(path), **how)], processor)

    @classmethod
    def from_sources(
        cls,
        sources: Sequence[Source],
        processor: TinyLlavaProcessor,
        *,
        seed: int = 0,
        skipped: SkippedRows | None = None,
        decode: bool = False,
        in_words: bool = False,
    ) -> ConversationDataset:
        """From the rows of several sources, behind one another.

        Where they have weights, each source gives its share of the rows, see `shares`.

        Args:
            seed: of the rows that a share takes once more than others.
            skipped: gets the rows that sources with ``on_error: skip`` leave out.
            decode: read the items of such sources to find those rows, not the headers of their files alone.
            in_words: put each item's text in its place.

        Raises:
            KitError: a file that cannot be read, a row that cannot be used, some sources with weights and some without.
        """
        dataset = cls([], processor)
        dataset.skipped = dataset.skipped if skipped is None else skipped
        parts = [list(dataset._conversations(source, decode, in_words)) for source in sources]
        for source, part in zip(sources, parts, strict=True):
            if not part:
                raise KitError(f"{source.name}: no row of it can be used; see {dataset.skipped.file or 'the list'}")
        dataset.conversations = mixed(parts, sources, seed)
        return dataset

    def _conversations(self, source: Source, decode: bool, in_words: bool) -> Iterator[Conversation]:
        for label, make in conversations_of(source.rows(), source, self.processor, in_words=in_words):
            if source.on_error == "error":
                yield make()
                continue
            with self.skipped.catching(label):
                conversation = make()
                self.processor.probe(conversation)
                if decode:
                    self.processor.encode(conversation, writer=self.processor.probe_ids)
                yield OptionalConversation(conversation.turns, conversation.items, conversation.name)

    def __len__(self) -> int:
        return len(self.conversations)

    def __getitem__(self, index: int) -> Encoded:
        return encode_or_skip(self.conversations[index], self.processor, self.skipped, self.reader)


def mixed(parts: Sequence[Sequence[T]], sources: Sequence[Source], seed: int) -> list[T]:
    """What each source gives, behind one another; where they have weights, each by its share.

    Raises:
        KitError: some sources have a weight and some have none.
    """
    weights = [source.weight for source in sources if source.weight is not None]
    if not weights:
        return [each for part in parts for each in part]
    if len(weights) < len(sources):
        raise KitError("data: some sources have a weight and some have none; give each one")
    counts = shares([len(part) for part in parts], weights)
    return [
        part[index]
        for number, (part, count) in enumerate(zip(parts, counts, strict=True))
        for index in drawn(len(part), count, random.Random(f"{seed} {number}"))
    ]


def conversations_of(
    rows: Sequence[Row], source: Source, processor: TinyLlavaProcessor, *, first: int = 0, in_words: bool = False
) -> Iterator[tuple[str, Callable[[], Conversation]]]:
    """What each conversation of a source's rows is called, and what makes it.

    Args:
        first: the number of the first row, by which the prompts of `pairs` take turns.
        in_words: put each item's text in its place.

    Raises:
        KitError: `pairs` of a modality that the model does not read; and when made, a row that is no conversation.
    """
    if source.pairs is None:
        for row in list(rows) * source.repeat:
            yield row.label, partial(_conversation, row, processor, in_words)
        return
    check_pairs(source.pairs, processor.specs, reads=processor.reads, gives=processor.gives)
    for together, number in grouped(rows, source.pairs, source.repeat):
        yield together[0].label, partial(_asked, together, source.pairs, processor, first + number, in_words)


def _conversation(row: Row, processor: TinyLlavaProcessor, in_words: bool) -> Conversation:
    conversation = processor.conversation(with_root(row.values, processor.specs, row.root), name=row.name)
    return conversation.in_words(processor.gives) if in_words else conversation


def _asked(
    rows: Sequence[Row], pairs: Pairs, processor: TinyLlavaProcessor, first: int, in_words: bool
) -> Conversation:
    return _conversation(asked(rows, pairs, processor.specs, first=first), processor, in_words)


def encode_or_skip(
    conversation: Conversation,
    processor: TinyLlavaProcessor,
    skipped: SkippedRows,
    reader: ItemReader | None = None,
) -> Encoded:
    """A conversation encoded; a `SkippedRow` for an optional one that cannot be read.

    Raises:
        KitError: one that is not optional cannot be read.
    """
    try:
        return processor.encode(conversation, reader=reader)
    except KitError as error:
        if not isinstance(conversation, OptionalConversation):
            raise
        skipped.add(conversation.name, str(error))
        return SkippedRow.named(conversation.name, processor.pad_id)


class Collator:
    """`Encoded` conversations -> a batch with labels; `packs` of them share rows, see `fusion.plan`.

    Args:
        processor: of the model.
        max_length: the most positions of a sample; positions beyond it are counted in `num_cut`.

    Raises:
        KitError: a batch in which nothing is left to learn, though not all its rows were skipped.
    """

    def __init__(self, processor: TinyLlavaProcessor, max_length: int | None = None) -> None:
        self.processor = processor
        self.max_length = max_length
        self.num_cut = 0

    def __call__(self, samples: Sequence[Encoded], packs: Sequence[int] | None = None) -> Batch:
        batch = self.processor.collate(samples, labels=True, max_length=self.max_length, packs=packs)
        plan = batch["plan"]
        self.num_cut += len(plan.truncations)
        no_targets = plan.target_positions is None or not len(plan.target_positions)
        if no_targets and not all(isinstance(sample, SkippedRow) for sample in samples):
            names = ", ".join(sample.name for sample in samples)
            raise KitError(f"nothing to learn in {names}: no answer, or max_length {self.max_length} cuts it off")
        return batch
