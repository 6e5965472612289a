"""A batch as the model sees it: the text of each row, which of it is learned, where items and other samples begin."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from ...core.plan import Plan, PlannedSample
from ...core.spans import IGNORE_INDEX
from ...data.dataset import Collator, ConversationDataset
from ...data.skipping import SkippedRows
from ...errors import KitError
from ...pages.html import document
from ...processing.batch import Batch
from ...processing.processor import TinyLlavaProcessor
from ..batches.batching import batches_of
from ..batches.packing import PackedCollator, PackedDataset, token_counts
from ..data_loading import read_data
from ..recipe import Recipe


@dataclass(frozen=True)
class PreviewToken:
    """What stands behind one another in a row: ``text``, ``learned`` text, an ``item``, or one ``made`` of these words.

    text: as the tokenizer decodes it; of an item, its modality. count: positions.
    """

    kind: str
    text: str
    count: int


@dataclass(frozen=True)
class ShownSample:
    """A sample in its row: its pieces in order."""

    name: str
    start: int
    pieces: tuple[PreviewToken, ...]


@dataclass(frozen=True)
class ShownRow:
    """A row of the batch: the samples that share it, and how many positions behind them are padding."""

    samples: tuple[ShownSample, ...]
    padding: int


def first_batch(recipe: Recipe, *, count: int, only: str | None = None) -> tuple[Batch, TinyLlavaProcessor]:
    """The first `count` rows of a batch of a stage, the recipe's first where none is named.

    Packed rows and sized batches are those of the first epoch; other samples are the first of the data. Where the
    assistant gives items, whose ids the model would have to make, their begin mark stands as often.

    Raises:
        KitError: no such stage, data that cannot be read.
    """
    stage = recipe.stages[0] if only is None else recipe.stage(only)
    processor = TinyLlavaProcessor.from_pretrained(recipe.model)
    processor.writer = processor.outline_ids
    dataset = read_data(stage, processor, seed=recipe.seed, skipped=SkippedRows())
    collate = Collator(processor, stage.max_length)
    if not isinstance(dataset, ConversationDataset):
        samples = [sample for batch, _ in zip(dataset, range(count), strict=False) for sample in batch]
        return collate(samples[:count]), processor
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
        return PackedCollator(collate)([packed[row] for row in wanted]), processor
    return collate([dataset[index] for index in wanted]), processor


def shown_rows(batch: Batch, processor: TinyLlavaProcessor) -> list[ShownRow]:
    """The rows of a batch with labels, as text."""
    plan: Plan = batch["plan"]
    rows = []
    count, length = plan.shape
    for number in range(count):
        samples = tuple(
            ShownSample(sample.name, sample.start, tuple(_pieces(batch, index, processor)))
            for index, sample in enumerate(plan.samples)
            if sample.row == number
        )
        used = sum(piece.count for sample in samples for piece in sample.pieces)
        rows.append(ShownRow(samples, length - used))
    return rows


def _pieces(batch: Batch, index: int, processor: TinyLlavaProcessor) -> Iterator[PreviewToken]:
    """Of one sample: each item, and the text between them, cut where what is learned begins and ends."""
    plan: Plan = batch["plan"]
    sample = plan.samples[index]
    ids, labels = batch["input_ids"][sample.row].tolist(), batch["labels"][sample.row].tolist()
    marks = [
        (item.start, PreviewToken("item", item.modality, item.num_tokens))
        for item in plan.items
        if item.sample == index
    ]
    marks += [(start, PreviewToken("made", modality, 0)) for modality, start in _made(plan, sample)]
    marks.sort(key=lambda each: (each[0], each[1].count))
    at = sample.start
    for end, mark in [*marks, (sample.start + sample.num_tokens, None)]:
        for learned, positions in groupby(range(at, end), key=lambda position: labels[position] != IGNORE_INDEX):
            run = [ids[position] for position in positions]
            yield PreviewToken("learned" if learned else "text", processor.decode(run), len(run))
        if mark is not None:
            yield mark
            at = end + mark.count


def _made(plan: Plan, sample: PlannedSample) -> Iterator[tuple[str, int]]:
    """The items of a sample that are made of words, and where these end in its row."""
    for modality, items in plan.generated.items():
        for last in items.words.max(1).values.tolist():
            row, at = divmod(last, plan.shape[1])
            if row == sample.row and sample.start <= at < sample.start + sample.num_tokens:
                yield modality, at + 1


_STYLE = """
.sample { border-left: 4px solid #bbb; margin: 0.4em 0 1em; padding: 0.1em 0 0.1em 0.8em; }
.name { color: #666; font-size: 85%; }
.text { font-family: monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
.learned { background: #bdeac0; }
.item, .made { background: #c9def7; border-radius: 3px; padding: 0 0.3em; }
"""


def write_page(rows: Sequence[ShownRow], path: str | os.PathLike[str]) -> None:
    """The rows as a page that needs no other file.

    Raises:
        KitError: it cannot be written.
    """
    body = "".join(_row_html(number, row) for number, row in enumerate(rows))
    legend = (
        "<p>Green is learned; blue is an item, with its positions, or one that is made of the words in front of it; a "
        "line at the left is a sample.</p>"
    )
    try:
        Path(path).write_text(document("A batch", legend + body, _STYLE), encoding="utf-8")
    except OSError as error:
        raise KitError(f"cannot write {str(path)!r}: {error.strerror}") from error


def _row_html(number: int, row: ShownRow) -> str:
    used = sum(piece.count for sample in row.samples for piece in sample.pieces)
    samples = "".join(_sample_html(sample) for sample in row.samples)
    return f"<h3>Row {number}: {used} positions, {row.padding} of padding</h3>{samples}"


def _sample_html(sample: ShownSample) -> str:
    count = sum(piece.count for piece in sample.pieces)
    learned = sum(piece.count for piece in sample.pieces if piece.kind == "learned")
    name = f"{html.escape(sample.name)}: {sample.start}-{sample.start + count - 1}, {learned} learned"
    pieces = "".join(_piece_html(piece) for piece in sample.pieces)
    return f"<div class=sample><div class=name>{name}</div><div class=text>{pieces}</div></div>"


def said_of(piece: PreviewToken) -> str:
    """A piece in words, without its colour."""
    return {"item": f"{piece.text}: {piece.count}", "made": f"made: {piece.text}"}.get(piece.kind, piece.text)


def _piece_html(piece: PreviewToken) -> str:
    said = html.escape(said_of(piece))
    return said if piece.kind == "text" else f"<span class={piece.kind}>{said}</span>"
