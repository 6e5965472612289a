"""The plan of a batch: integers that lay out text, items and padding, made on the CPU from token counts alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice, repeat
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from ..errors import FusionError
from .ids import NO_ID
from .spans import IGNORE_INDEX, AnySpan, GeneratedSpan, ItemSpan, Sample, TextSpan

_PAD, _TEXT = 0, 1  # the kind of a position; modalities count on from 2


@dataclass(frozen=True)
class GeneratedItems:
    """The items of a modality that a decoder makes of words, N in the batch.

    words: (N, P) where the words of each stand, NO_ID behind the last.
    ids: (N, n) or (N, n, k) what its decoder learns, NO_ID behind the last.
    """

    words: Tensor
    ids: Tensor

    def to(self, *args: Any, **kwargs: Any) -> GeneratedItems:
        """The same, moved."""
        return GeneratedItems(self.words.to(*args, **kwargs), self.ids.to(*args, **kwargs))


@dataclass(frozen=True)
class PlannedSample:
    """Where a sample went: positions `start` to `start + num_tokens` of row `row`; `name` is for messages."""

    row: int
    start: int
    num_tokens: int
    name: str = ""


@dataclass(frozen=True)
class PlannedItem:
    """Where an item of sample `sample` went: positions `start` to `start + num_tokens` of row `row`.

    `index` counts the items of its modality over the batch, in order, those that were cut included.
    """

    modality: str
    index: int
    sample: int
    row: int
    start: int
    num_tokens: int


@dataclass(frozen=True)
class Truncation:
    """What truncation took from a sample: text tokens, labels among them, and whole items by modality."""

    sample: int
    num_text: int
    num_labels: int
    items: Mapping[str, int]


class _Inputs(TypedDict):
    input_ids: Tensor
    position_ids: Tensor


class ModelInputs(_Inputs, total=False):
    """What the model takes by position, (B, T) int64 each.

    input_ids: the padding id where there is no text token.
    attention_mask: 1 = keep; not there where samples are packed, which `position_ids` keep apart.
    position_ids: 0..len-1 on each sample's own positions, 0 on padding.
    labels: IGNORE_INDEX on items, padding, each sample's first position, which nothing predicts, and text that is not
        learned; not there without labels.
    """

    attention_mask: Tensor
    labels: Tensor


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The layout of a batch: what the kernel needs to know of it. Tensors are int64.

    Positions are flat, ``row * T + t``.

    shape: (B, T).
    text_positions: (n,), pad_positions: (m,), item_positions: modality -> (R,), in batch order.
    ragged: modality -> ((R,) item, (R,) feature), where items of a modality differ in length.
    target_positions: (n,), positions whose *next* position has a label: the only ones whose logits the loss needs;
        None without labels.
    target_samples: (n,), which sample each of them is of.
    parallel_ids: (B, T, K), NO_ID where there is none; None where nothing of the batch has any.
    generated: modality -> the items that its decoder makes of words.
    """

    shape: tuple[int, int]
    text_positions: Tensor
    pad_positions: Tensor
    item_positions: Mapping[str, Tensor]
    ragged: Mapping[str, tuple[Tensor, Tensor]]
    target_positions: Tensor | None
    target_samples: Tensor | None
    parallel_ids: Tensor | None = None
    generated: Mapping[str, GeneratedItems] = field(default_factory=dict)
    samples: tuple[PlannedSample, ...] = ()
    items: tuple[PlannedItem, ...] = ()
    truncations: tuple[Truncation, ...] = ()
    padding_side: str = field(default="right")

    @property
    def attention_mask(self) -> Tensor:
        """(B, T), 1 = keep: all but padding."""
        kept = torch.ones(self.shape, dtype=torch.int64, device=self.pad_positions.device)
        return kept.flatten().index_fill(0, self.pad_positions, 0).view(self.shape)  # (B, T)

    @property
    def position_ids(self) -> Tensor:
        """(B, T), 0..len-1 on each sample's own positions, 0 on padding."""
        mask = self.attention_mask
        positions = (mask.cumsum(1) - 1) * mask  # (B, T)
        for sample in self.samples:
            if sample.start and sample.num_tokens:
                mine = positions[sample.row, sample.start : sample.start + sample.num_tokens]  # (t,)
                mine -= mine[0].clone()
        return positions

    @property
    def is_packed(self) -> bool:
        """Whether samples share rows: attention must then be kept within each, by `position_ids`, not by the mask."""
        return len(self.samples) > self.shape[0]

    def without_items(self, labels: Tensor) -> Tensor:
        """The labels (B, T) of this batch, IGNORE_INDEX at positions of items."""
        labels = labels.clone()
        for rows in self.item_positions.values():
            labels.view(-1)[rows] = IGNORE_INDEX
        return labels

    def types(self, modalities: Sequence[str]) -> Tensor:
        """(B, T) int64, transformers' `mm_token_type_ids`: n at positions of the n-th modality, 0 elsewhere."""
        types = torch.zeros(self.shape, dtype=torch.int64, device=self.text_positions.device)
        for modality, rows in self.item_positions.items():
            types.view(-1)[rows] = 1 + modalities.index(modality)
        return types

    @property
    def target_parallel(self) -> Tensor | None:
        """(n, K), the parallel ids at the positions behind the target rows: they are learned, too."""
        if self.parallel_ids is None or self.target_positions is None:
            return None
        return self.parallel_ids.flatten(0, 1).index_select(0, self.target_positions + 1)  # (n, K)

    def kept(self, modality: str) -> list[PlannedItem]:
        """The items of a modality that are in the batch, in order."""
        return [item for item in self.items if item.modality == modality]

    def to(self, *args: Any, **kwargs: Any) -> Plan:
        """The same plan with its tensors moved, as ``Tensor.to`` does; dtypes stay."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(*args, **kwargs)

        names = ("text_positions", "pad_positions", "target_positions", "target_samples", "parallel_ids")
        others: dict[str, Any] = {n: None if getattr(self, n) is None else moved(getattr(self, n)) for n in names}
        return replace(
            self,
            **others,
            item_positions={m: moved(rows) for m, rows in self.item_positions.items()},
            ragged={m: (moved(a), moved(b)) for m, (a, b) in self.ragged.items()},
            generated={m: items.to(*args, **kwargs) for m, items in self.generated.items()},
        )


def plan(
    samples: Sequence[Sample],
    *,
    pad_id: int = 0,
    padding_side: str = "right",
    max_length: int | None = None,
    packs: Sequence[int] | None = None,
    names: Sequence[str] = (),
) -> tuple[ModelInputs, Plan]:
    """Lay out a batch: what the model takes by position, and the plan.

    Example:
        >>> inputs, layout = plan([[TextSpan([1, 5]), ItemSpan("image", 3), TextSpan([6], labels=[6])]])
        >>> inputs["input_ids"].tolist(), layout.item_positions["image"].tolist()
        ([[1, 5, 0, 0, 0, 6]], [2, 3, 4])

    Args:
        samples: the spans of each sample, in order. Items of a modality are counted through the batch.
        pad_id: the id at positions without a text token; any row of the embedding.
        padding_side: ``right`` (training) or ``left`` (generation).
        max_length: keep this many positions of a sample at most. An item that would be cut is left out
            whole, with all that follows it; `Plan.truncations` says what was lost.
        packs: how many samples, in order, stand behind one another in each row; default: one. Each counts its
            positions from 0 (Krell et al. 2021).
        names: of the samples, for messages.

    Raises:
        FusionError: labels or parallel ids of another length than their ids; a negative count; an unknown padding side;
            packs that are padded on the left or do not add up to the samples; an item made of words without any.
    """
    if padding_side not in ("left", "right"):
        raise FusionError(f"padding_side must be 'left' or 'right', got {padding_side!r}")
    if packs is not None and (padding_side == "left" or sum(packs) != len(samples)):
        raise FusionError(
            f"packs {list(packs)} of {len(samples)} samples, padded on the {padding_side}: expected sizes "
            "that add up to the samples, and padding on the right"
        )
    samples = [_checked(sample, number) for number, sample in enumerate(samples)]
    seen: dict[str, int] = {}
    kept, truncations = [], []
    for number, sample in enumerate(samples):
        spans, cut = _truncate(sample, number, max_length, seen)
        kept.append(spans)
        if cut is not None:
            truncations.append(cut)
    sizes = packs or [1] * len(kept)
    inputs, layout = _lay_out(kept, sizes, names, tuple(truncations), list(seen), pad_id, padding_side)
    if packs is not None:
        del inputs["attention_mask"]
    return inputs, layout


def _checked(sample: Sample, number: int) -> Sample:
    for span in sample:
        if isinstance(span, TextSpan):
            if span.labels is not None and len(span.labels) != len(span.ids):
                raise FusionError(f"sample {number}: {len(span.ids)} ids but {len(span.labels)} labels")
            if span.parallel is not None and len(span.parallel) != len(span.ids):
                raise FusionError(f"sample {number}: {len(span.ids)} ids but {len(span.parallel)} rows of parallel ids")
        elif span.num_tokens < 0:
            raise FusionError(f"sample {number}: {span.modality} item with {span.num_tokens} tokens")
    return sample


def _truncate(
    sample: Sample, number: int, max_length: int | None, seen: dict[str, int]
) -> tuple[list[tuple[AnySpan, int]], Truncation | None]:
    """The spans that fit, items with their index over the batch; and what was lost. Counts items in `seen`."""
    spans: list[tuple[AnySpan, int]] = []
    room = max_length if max_length is not None else sum(span.num_tokens for span in sample)
    lost_text, lost_labels, full = 0, 0, False
    lost_items: dict[str, int] = {}
    for span in sample:
        if isinstance(span, GeneratedSpan):
            if full:
                lost_items[span.modality] = lost_items.get(span.modality, 0) + 1
            else:
                spans.append((span, -1))
            continue
        if isinstance(span, ItemSpan):
            index = seen[span.modality] = seen.get(span.modality, -1) + 1
            full = full or span.num_tokens > room
            if full:
                lost_items[span.modality] = lost_items.get(span.modality, 0) + 1
                continue
            room -= span.num_tokens
            spans.append((span, index))
            continue
        take = 0 if full else min(room, len(span.ids))
        if take < len(span.ids):
            full = True
            lost_text += len(span.ids) - take
            lost_labels += sum(label != IGNORE_INDEX for label in (span.labels or ())[take:])
            span = span[:take]
        room -= take
        spans.append((span, -1))
    cut = Truncation(number, lost_text, lost_labels, lost_items) if lost_text or lost_items else None
    return spans, cut


def _lay_out(
    samples: list[list[tuple[AnySpan, int]]],
    packs: Sequence[int],
    names: Sequence[str],
    truncations: tuple[Truncation, ...],
    modalities: list[str],
    pad_id: int,
    padding_side: str,
) -> tuple[ModelInputs, Plan]:
    """Write the spans into (B, T) arrays, then read the rows of each kind off them."""
    placed = _place_samples([sum(span.num_tokens for span, _ in spans) for spans in samples], packs, padding_side)
    placed = [replace(sample, name=name) for sample, name in zip(placed, chain(names, repeat("")), strict=False)]
    shape = (len(packs), max((sample.start + sample.num_tokens for sample in placed), default=0))
    texts = [span for spans in samples for span, _ in spans if isinstance(span, TextSpan)]
    num_parallel = next((len(span.parallel[0]) for span in texts if span.parallel), 0)
    sheet = _Sheet(shape, pad_id, num_parallel, modalities)
    for number, (sample, spans) in enumerate(zip(placed, samples, strict=True)):
        sheet.write(number, sample, spans)
    learns = any(span.labels is not None for span in texts)
    layout = Plan(
        shape=shape,
        **sheet.positions(),
        **(sheet.targets() if learns else {"target_positions": None, "target_samples": None}),
        parallel_ids=torch.from_numpy(sheet.parallel) if num_parallel else None,
        ragged=ragged_rows(sheet.items),
        generated={modality: _generated_items(each) for modality, each in sorted(sheet.generated.items())},
        samples=tuple(placed),
        items=tuple(sheet.items),
        truncations=truncations,
        padding_side=padding_side,
    )
    return sheet.inputs(learns), layout


class _Sheet:
    """The (B, T) arrays that spans are written into, padding where nothing is, and what does not fit into arrays."""

    def __init__(self, shape: tuple[int, int], pad_id: int, num_parallel: int, modalities: Sequence[str]) -> None:
        self.codes = {modality: code for code, modality in enumerate(modalities, _TEXT + 1)}
        self.ids = np.full(shape, pad_id, np.int64)
        self.kinds = np.full(shape, _PAD, np.int64)
        self.position_ids = np.zeros(shape, np.int64)
        self.numbers = np.zeros(shape, np.int64)  # of the samples
        self.labels = np.full(shape, IGNORE_INDEX, np.int64)
        self.parallel = np.full((*shape, num_parallel), NO_ID, np.int64)
        self.items: list[PlannedItem] = []
        self.generated: dict[str, list[tuple[np.ndarray, Sequence[Any]]]] = {}

    def write(self, number: int, sample: PlannedSample, spans: Sequence[tuple[AnySpan, int]]) -> None:
        """The spans of a sample at their places; nothing predicts its first position."""
        row, at = sample.row, sample.start
        self.position_ids[row, at : at + sample.num_tokens] = np.arange(sample.num_tokens)
        self.numbers[row, at : at + sample.num_tokens] = number
        free = at  # where there is no word of a generated item yet
        for span, index in spans:
            if isinstance(span, GeneratedSpan):
                self._write_generated(row, slice(free, at), span, sample.name or f"sample {number}")
                free = at
            elif isinstance(span, ItemSpan):
                self.kinds[row, at : at + span.num_tokens] = self.codes[span.modality]
                self.items.append(PlannedItem(span.modality, index, number, row, at, span.num_tokens))
            else:
                self._write_text(row, slice(at, at + len(span.ids)), span)
            at += span.num_tokens
        if sample.num_tokens:
            self.labels[row, sample.start] = IGNORE_INDEX

    def _write_text(self, row: int, places: slice, span: TextSpan) -> None:
        self.kinds[row, places] = _TEXT
        self.ids[row, places] = span.ids
        if span.parallel:
            self.parallel[row, places] = span.parallel
        if span.labels is not None:
            self.labels[row, places] = span.labels

    def _write_generated(self, row: int, places: slice, span: GeneratedSpan, name: str) -> None:
        """An item of the words that end these places."""
        first = row * self.ids.shape[1] + places.start
        words = first + _words(self.labels[row, places], name, span.modality)  # (P,)
        self.generated.setdefault(span.modality, []).append((words, span.ids))

    def inputs(self, learns: bool) -> ModelInputs:
        """What the model takes by position; labels where some are learned."""
        inputs: ModelInputs = {
            "input_ids": torch.from_numpy(self.ids),
            "attention_mask": torch.from_numpy((self.kinds != _PAD).astype(np.int64)),
            "position_ids": torch.from_numpy(self.position_ids),
        }
        if learns:
            inputs["labels"] = torch.from_numpy(self.labels)
        return inputs

    def positions(self) -> dict[str, Any]:
        """The flat positions of each kind."""
        flat = self.kinds.ravel()
        return {
            "text_positions": _where(flat == _TEXT),
            "pad_positions": _where(flat == _PAD),
            "item_positions": {m: _where(flat == code) for m, code in self.codes.items() if (flat == code).any()},
        }

    def targets(self) -> dict[str, Tensor]:
        """The flat positions whose next position has a label, and the sample of each."""
        targets = np.zeros(self.ids.shape, bool)
        targets[:, :-1] = self.labels[:, 1:] != IGNORE_INDEX
        return {
            "target_positions": _where(targets.ravel()),
            "target_samples": torch.from_numpy(self.numbers[targets]),
        }


def _place_samples(lengths: Sequence[int], packs: Sequence[int], padding_side: str) -> list[PlannedSample]:
    """Each pack's samples behind one another in a row; on the left, one a row, they end where the longest does."""
    if padding_side == "left":
        longest = max(lengths, default=0)
        return [PlannedSample(row, longest - length, length) for row, length in enumerate(lengths)]
    placed, waiting = [], iter(lengths)
    for row, size in enumerate(packs):
        start = 0
        for length in islice(waiting, size):
            placed.append(PlannedSample(row, start, length))
            start += length
    return placed


def ragged_rows(items: Sequence[PlannedItem]) -> dict[str, tuple[Tensor, Tensor]]:
    """For a modality whose items differ in length: which item and which of its features each row is."""
    counts: dict[str, list[int]] = {}
    for item in items:
        counts.setdefault(item.modality, []).append(item.num_tokens)
    ragged = {}
    for modality, sizes in counts.items():
        if len(set(sizes)) > 1:
            which = np.repeat(np.arange(len(sizes)), sizes)
            within = np.concatenate([np.arange(size) for size in sizes])
            ragged[modality] = (torch.from_numpy(which), torch.from_numpy(within))
    return ragged


def _words(labels: np.ndarray, name: str, modality: str) -> np.ndarray:
    """The places (P,) of the learned text at the end of these positions.

    Raises:
        FusionError: there is none.
    """
    others = np.flatnonzero(labels == IGNORE_INDEX)
    first = others[-1] + 1 if len(others) else 0
    if first == len(labels):
        raise FusionError(
            f"{name}: an item of {modality!r} is made of the words in front of it, and there are none; give "
            "the item's text"
        )
    return np.arange(first, len(labels))


def _generated_items(items: Sequence[tuple[np.ndarray, Sequence[Any]]]) -> GeneratedItems:
    words = [torch.from_numpy(each) for each, _ in items]
    ids = [torch.tensor(each, dtype=torch.int64) for _, each in items]
    pad = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True, padding_value=NO_ID)
    return GeneratedItems(pad(words), pad(ids))  # (N, P), (N, n) or (N, n, k)


def _where(mask: np.ndarray) -> Tensor:
    return torch.from_numpy(np.flatnonzero(mask))
