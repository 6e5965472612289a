"""A batch as the model sees it: the text of each row, which of it is learned, where items and other samples begin."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from ...checkpoints.loading import load_pretrained
from ...core.conversation import Item
from ...core.plan import Plan, PlannedSample
from ...core.spans import IGNORE_INDEX
from ...data.dataset import Collator, ConversationDataset
from ...data.skipping import SkippedRows
from ...errors import KitError
from ...features.item_codes import ItemCodes
from ...pages.templating import render
from ...processing.batch import Batch
from ...processing.processor import TinyLlavaProcessor
from ..batches.batching import batches_of
from ..batches.packing import PackedCollator, PackedDataset, token_counts
from ..data_loading import read_data
from ..output.shown_items import shown_item
from ..recipe import Recipe


@dataclass(frozen=True)
class PreviewSpan:
    """Positions that follow one another in a row: ``text``, ``learned`` text or ``ids``, an ``item``, or one ``made``
    of these words.

    text: as the tokenizer decodes it; of an item, its modality; of ids that the LLM writes for an item, also their
    names, where they are known. count: positions.
    """

    kind: str
    text: str
    count: int


@dataclass(frozen=True)
class ShownSample:
    """A sample in its row: its spans in order, and the items of its conversation, where these are known."""

    name: str
    start: int
    spans: tuple[PreviewSpan, ...]
    items: tuple[Item, ...] = ()

    @property
    def count(self) -> int:
        """Its positions."""
        return sum(span.count for span in self.spans)

    @property
    def learned(self) -> int:
        """Those that are learned."""
        return sum(span.count for span in self.spans if span.kind in ("learned", "ids"))


@dataclass(frozen=True)
class ShownRow:
    """A row of the batch: the samples that share it, and how many positions behind them are padding."""

    samples: tuple[ShownSample, ...]
    padding: int

    @property
    def used(self) -> int:
        """Positions that hold a sample."""
        return sum(sample.count for sample in self.samples)


@dataclass(frozen=True)
class Preview:
    """A batch, the processor that made it, and the items of its samples by their names; of a stream none are known."""

    batch: Batch
    processor: TinyLlavaProcessor
    items: Mapping[str, tuple[Item, ...]]


def first_batch(recipe: Recipe, *, count: int, only: str | None = None, ids: bool = False) -> Preview:
    """The first `count` rows of a batch of a stage, the recipe's first where none is named.

    Packed rows and sized batches are those of the first epoch; other samples are the first of the data.

    Args:
        ids: load the model, whose decoders make the ids of items that the assistant gives. Otherwise these items' begin
            mark stands as often.

    Raises:
        KitError: no such stage, data that cannot be read.
    """
    stage = recipe.stages[0] if only is None else recipe.stage(only)
    if ids:
        model, processor = load_pretrained(recipe.model)
        processor.writer = ItemCodes(model, processor)
    else:
        processor = TinyLlavaProcessor.from_pretrained(recipe.model)
        processor.writer = processor.probe_ids
    dataset = read_data(stage, processor, seed=recipe.seed, skipped=SkippedRows())
    collate = Collator(processor, stage.max_length)
    if not isinstance(dataset, ConversationDataset):
        samples = [sample for batch, _ in zip(dataset, range(count), strict=False) for sample in batch]
        return Preview(collate(samples[:count]), processor, {})
    batches = batches_of(
        stage,
        dataset.conversations,
        processor.modalities,
        lambda: token_counts(dataset, stage.max_length, workers=stage.workers),
        recipe.seed,
    )
    wanted: list[Any] = []
    for batch in [list(range(len(dataset)))] if batches is None else batches:
        wanted += batch[: count - len(wanted)]
        if len(wanted) == count:
            break
    if stage.packing:
        packed = PackedDataset(dataset)
        made, indices = PackedCollator(collate)([packed[row] for row in wanted]), list(chain(*wanted))
    else:
        made, indices = collate([dataset[index] for index in wanted]), wanted
    conversations = [dataset.conversations[index] for index in indices]
    return Preview(made, processor, {each.name: tuple(each.items) for each in conversations})


def shown_rows(preview: Preview) -> list[ShownRow]:
    """The rows of a batch with labels, as text."""
    batch, processor = preview.batch, preview.processor
    plan: Plan = batch["plan"]
    rows = []
    count, length = plan.shape
    for number in range(count):
        samples = tuple(
            ShownSample(
                sample.name,
                sample.start,
                tuple(_pieces(batch, index, processor)),
                preview.items.get(sample.name, ()),
            )
            for index, sample in enumerate(plan.samples)
            if sample.row == number
        )
        rows.append(ShownRow(samples, length - sum(sample.count for sample in samples)))
    return rows


def _pieces(batch: Batch, index: int, processor: TinyLlavaProcessor) -> Iterator[PreviewSpan]:
    """Of one sample: each item, and the text between them, cut where learned text begins and ends."""
    plan: Plan = batch["plan"]
    sample = plan.samples[index]
    ids, labels = batch["input_ids"][sample.row].tolist(), batch["labels"][sample.row].tolist()
    marks = [
        (item.start, PreviewSpan("item", item.modality, item.num_tokens)) for item in plan.items if item.sample == index
    ]
    marks += [(start, PreviewSpan("made", modality, 0)) for modality, start in _made(plan, sample)]
    marks.sort(key=lambda each: (each[0], each[1].count))
    at = sample.start
    for end, mark in [*marks, (sample.start + sample.num_tokens, None)]:
        for learned, positions in groupby(range(at, end), key=lambda position: labels[position] != IGNORE_INDEX):
            yield from _written([ids[position] for position in positions], learned, processor)
        if mark is not None:
            yield mark
            at = end + mark.count


def _written(ids: Sequence[int], learned: bool, processor: TinyLlavaProcessor) -> Iterator[PreviewSpan]:
    """Ids that stand behind one another: text, and what the LLM writes for items."""
    for modality, run in groupby(ids, key=lambda each: _modality_of(each, processor)):
        some = list(run)
        if modality is None:
            yield PreviewSpan("learned" if learned else "text", processor.decode(some), len(some))
            continue
        named = [_name_of(each, modality, processor) for each in some]
        known = "" if len(set(some)) == 1 else f": {' '.join(named)}"  # a probe repeats the begin mark
        yield PreviewSpan("ids" if learned else "text", f"{modality}, {len(some)} ids{known}", len(some))


def _modality_of(each: int, processor: TinyLlavaProcessor) -> str | None:
    """Whose decoder has this id; None: it is text."""
    ranges = {} if processor.grammar is None else processor.grammar.ranges
    places = ((m, start, size) for m, of in ranges.items() for start, size in of.values())
    return next((m for m, start, size in places if start <= each < start + size), None)


def _name_of(each: int, modality: str, processor: TinyLlavaProcessor) -> str:
    """An id by its range and its number there, ``codes.17``; a mark by its name."""
    assert processor.grammar is not None
    ranges = processor.grammar.ranges[modality].items()
    name, start, size = next((n, start, size) for n, (start, size) in ranges if start <= each < start + size)
    return name if size == 1 else f"{name}.{each - start}"


def _made(plan: Plan, sample: PlannedSample) -> Iterator[tuple[str, int]]:
    """The items of a sample that are made of words, and where these end in its row."""
    for modality, items in plan.generated.items():
        for last in items.words.max(1).values.tolist():
            row, at = divmod(last, plan.shape[1])
            if row == sample.row and sample.start <= at < sample.start + sample.num_tokens:
                yield modality, at + 1


def write_page(rows: Sequence[ShownRow], path: str | os.PathLike[str]) -> None:
    """The rows as a page that needs no other file.

    Raises:
        KitError: it cannot be written.
    """
    page = render("preview.html", title="A batch", rows=rows, said_of=said_of, shown_item=shown_item)
    try:
        Path(path).write_text(page, encoding="utf-8")
    except OSError as error:
        raise KitError(f"cannot write {str(path)!r}: {error.strerror}") from error


def said_of(span: PreviewSpan) -> str:
    """A span in words, without its colour."""
    return {"item": f"{span.text}: {span.count}", "made": f"made: {span.text}"}.get(span.kind, span.text)
