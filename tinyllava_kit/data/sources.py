"""Where rows come from: the files that a recipe names, and how pairs of an item and its text become conversations."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..core.conversation import check_reads, split_placeholders
from ..errors import KitError, shown
from ..files.absence import absent
from ..plugin.discovery import installed_catalog
from ..plugin.specs import ModalitySpec, ReaderSpec
from .huggingface import named_rows
from .rows import Row, check_there, iterate_rows, locate
from .shards import named_files

MAX_ROWS = 100_000_000  # of an epoch
TEXT_PLACE = "{text}"  # in a prompt: the place of the text whose item is the answer

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Strict(BaseModel):
    """A part of a recipe: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def said_here(check: Callable[[_In], _Out], value: _In) -> _Out:
    """What the check returns; its error as pydantic expects it, so that the report names the place in the file."""
    try:
        return check(value)
    except KitError as error:
        raise ValueError(str(error)) from error


class Pairs(Strict):
    """Rows that hold an item and a text about it (a recording and its transcript, a picture and its caption).

    Each becomes a conversation: a prompt of `prompts`, taken in turn, asks about the item, the text is the answer. The
    item stands where the prompt has its modality's placeholder, or in front. `item` is the name of its column (default:
    the modality's name), `text` that of the text's. `turns`: so many pairs, drawn at random, stand in one conversation,
    which shares what a chat template writes once; a `repeat` of the source draws other ones.

    With ``answer: item`` it is the other way round, for a model that writes the modality: the prompt holds the text,
    where it has ``{text}`` or behind it, and the answer is the text and then the item.
    """

    modality: str
    item: str | None = None
    text: str = "text"
    prompts: tuple[str, ...] = Field(min_length=1)
    turns: int = Field(1, ge=1)
    answer: Literal["text", "item"] = "text"


class Source(Strict):
    """Where rows come from: files, or a dataset of Hugging Face.

    `path`: a file, or several by brace ranges (``{000..012}``) and wildcards; relative names in the rows are taken from
    `root`, or from the file's own folder. `reader`: who reads it, where its ending does not say. `dataset`: a name on
    the hub, or a directory laid out like one, with `subset` and `split`. `columns` maps a name that the kit looks for
    to the column that it stands in. `limit`: use the first so many rows only. `repeat`: use them so many times an
    epoch. `weight`: the source's share of the rows, in place of its size. `pairs`: how its rows become conversations,
    where they are none.

    `stream`: rows are read when they are needed, in an order drawn among `shuffle` of them, and not held in memory.
    `on_error`: what a row is to the stage that cannot be used: its end, or a line in a list.
    """

    path: str | None = None
    reader: str | None = None
    dataset: str | None = None
    subset: str | None = None
    split: str = "train"
    root: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    limit: int | None = Field(None, ge=1)
    repeat: int = Field(1, ge=1, le=10_000)
    weight: float | None = Field(None, gt=0)
    pairs: Pairs | None = None
    stream: bool = False
    shuffle: int = Field(1000, ge=1)
    on_error: Literal["error", "skip"] = "error"

    @model_validator(mode="after")
    def _makes_sense(self) -> Source:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("a source needs one of path and dataset")
        if self.reader is not None:
            _check_reader(self)
        if self.repeat > 1 and (self.weight is not None or self.stream):
            raise ValueError(f"{self.name}: repeat is for a source without weight or stream; give weights instead")
        return self

    @property
    def name(self) -> str:
        """How messages call it."""
        return str(self.dataset if self.path is None else Path(self.path))

    def shards(self) -> list[Shard]:
        """Its files.

        Raises:
            KitError: a pattern that names none.
        """
        if self.path is None:
            return [Shard(self, str(self.dataset))]
        return [Shard(self, file) for file in named_files(self.path)]

    def check_there(self) -> None:
        """Check that all files of the source exist.

        Raises:
            KitError: one of its files is not there.
        """
        for shard in self.shards() if self.path is not None else ():
            check_there(shard.file)

    def rows(self) -> list[Row]:
        """All its rows.

        Raises:
            KitError: what cannot be read, and a file without rows.
        """
        rows: list[Row] = []
        for shard in self.shards():
            before = len(rows)
            rows += shard
            if len(rows) == before:
                raise KitError(f"{shard.name}: has no rows")
            if self.limit is not None and len(rows) >= self.limit:
                return rows[: self.limit]
        return rows


def _check_reader(source: Source) -> None:
    """Check that the reader of a source is installed, and has files to read.

    Raises:
        ValueError: nobody offers its reader, or it has no files.
    """
    if source.path is None:
        raise ValueError(f"{source.name}: reader is for files; take it out, or give path in place of dataset")
    said_here(lambda name: installed_catalog().find(ReaderSpec.kind, name), source.reader or "")


@dataclass(frozen=True)
class Shard:
    """The rows of one file of a source, or of its dataset, one after another."""

    source: Source
    file: str

    @property
    def name(self) -> str:
        """As `read_rows` shows it: files of one name get different ones."""
        return self.file if self.source.path is None else str(Path(self.file))

    def __iter__(self) -> Iterator[Row]:
        source = self.source
        if source.path is None:
            rows = named_rows(self.file, source.subset, source.split, stream=source.stream)
            root = source.root
        else:
            rows = iterate_rows(self.file, source.reader)
            root = os.path.dirname(self.file) if source.root is None else source.root
        for number, row in enumerate(rows):
            renamed = {ours: row[theirs] for ours, theirs in source.columns.items() if theirs in row}
            others = {name: value for name, value in row.items() if name not in source.columns.values()}
            yield Row({**others, **renamed}, f"{self.name}[{number}]", root)


def shares(sizes: Sequence[int], weights: Sequence[float]) -> list[int]:
    """How many rows of each source make the shortest epoch in which each has its share and none of its rows is missing.

    Raises:
        KitError: more than `MAX_ROWS`.

    Example:
        >>> shares([100, 10], [1, 1])
        [100, 100]
    """
    whole = max(size / weight for size, weight in zip(sizes, weights, strict=True))
    if whole * sum(weights) > MAX_ROWS:
        raise KitError(
            f"data: with these weights an epoch has more than {MAX_ROWS} rows; choose weights nearer each other"
        )
    return [max(size, round(whole * weight)) for size, weight in zip(sizes, weights, strict=True)]


def drawn(size: int, share: int, draw: random.Random) -> list[int]:
    """`share` of the numbers below `size`, at least all: each as often as the others, or once more, drawn at random."""
    times, rest = divmod(share, size)
    return [*list(range(size)) * times, *sorted(draw.sample(range(size), rest))]


def check_pairs(
    pairs: Pairs, modalities: Mapping[str, ModalitySpec], *, reads: Collection[str], gives: Collection[str]
) -> None:
    """Check the prompts of `pairs` against what the model reads and what it answers with.

    Raises:
        KitError: the model does not read the modality, or does not learn to give it where it is the answer; a prompt
            has its placeholder twice.
    """
    if pairs.answer == "text":
        check_reads(pairs.modality, reads, "pairs.modality")
    elif pairs.modality not in gives:
        known = ", ".join(sorted(gives)) or "text only"
        raise KitError(f"pairs.modality: the model does not answer with {pairs.modality!r}; it answers with {known}")
    placeholder = modalities[pairs.modality].token.placeholder
    for prompt in pairs.prompts:
        if prompt.count(placeholder) > 1:
            raise KitError(f"pairs.prompts: {prompt!r} has {placeholder} more than once; each pair has one item")
        if pairs.answer == "item" and placeholder in prompt:
            raise KitError(f"pairs.prompts: {prompt!r} has {placeholder}, but the item is the answer; take it out")


def grouped(rows: Sequence[Row], pairs: Pairs, repeat: int = 1) -> Iterator[tuple[list[Row], int]]:
    """The rows of pairs that share a conversation, and the number of the first among all."""
    for round_number in range(repeat):
        order = list(range(len(rows)))
        if pairs.turns > 1:
            random.Random(round_number).shuffle(order)
        for start in range(0, len(order), pairs.turns):
            yield [rows[index] for index in order[start : start + pairs.turns]], start + round_number * len(rows)


def asked(rows: Sequence[Row], pairs: Pairs, modalities: Mapping[str, ModalitySpec], *, first: int) -> Row:
    """Pairs -> one row with messages, named after the first of them; each item keeps its text.

    Args:
        first: the number of the first among all pairs, by which prompts take turns.

    Raises:
        KitError: a column is missing.
    """
    placeholder = modalities[pairs.modality].token.placeholder
    messages: list[dict[str, Any]] = []
    for turn, row in enumerate(rows, first):
        messages += _asked(row, pairs.prompts[turn % len(pairs.prompts)], pairs, placeholder)
    head = rows[0]
    return Row({**({"id": head.values["id"]} if "id" in head.values else {}), "messages": messages}, head.name)


def _asked(row: Row, prompt: str, pairs: Pairs, placeholder: str) -> list[dict[str, Any]]:
    values, column = row.values, pairs.item or pairs.modality
    for wanted in (column, pairs.text):
        if absent(values.get(wanted)):
            has = ", ".join(map(shown, values))
            raise KitError(f"{row.name}: has no {wanted!r}; it has {has}: see the recipe's pairs")
    text = values[pairs.text]
    if not isinstance(text, str) or not text.strip():
        raise KitError(f"{row.name}: {pairs.text!r} is {shown(text)}; expected a text")
    item = {"type": pairs.modality, pairs.modality: locate(values[column], row.root), "text": text}
    if pairs.answer == "item":
        asked_for = prompt.replace(TEXT_PLACE, text) if TEXT_PLACE in prompt else f"{prompt}\n{text}"
        return [{"role": "user", "content": asked_for}, {"role": "assistant", "content": [text, item]}]
    prompt = prompt if placeholder in prompt else f"{placeholder}\n{prompt}"
    content = [item if piece == placeholder else piece for piece in split_placeholders(prompt, [placeholder])]
    return [{"role": "user", "content": content}, {"role": "assistant", "content": text}]
