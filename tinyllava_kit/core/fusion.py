"""The fusion kernel: a plan made of integers, and pure functions that apply it.

`plan` lays out a batch on the CPU from token counts alone; `fuse` copies text rows and feature rows to the
places the plan names. `fuse` reads nothing back from the device: it captures as one graph.

Legend: B rows of the batch, each a sample or several packed behind one another, T positions of the longest,
D width of the LLM, n text rows, R feature rows of a modality, K sides of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice, zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import FusionError
from .grammar import NO_ID

IGNORE_INDEX = -100

_PAD, _TEXT = 0, 1  # what stands at a position; modalities count on from 2


@dataclass(frozen=True)
class TextSpan:
    """Tokens of text. `labels` is as long as `ids`; None: nothing here is learned.

    `sides` are the K side ids at each position, NO_ID where none stands; None: nowhere here.
    """

    ids: Sequence[int]
    labels: Sequence[int] | None = None
    sides: Sequence[Sequence[int]] | None = None

    def __getitem__(self, places: slice) -> TextSpan:
        """A part of it."""
        parts = (self.ids, self.labels, self.sides)
        return TextSpan(*(None if part is None else part[places] for part in parts))


@dataclass(frozen=True)
class ItemSpan:
    """The rows of one item."""

    modality: str
    num_tokens: int


@dataclass(frozen=True)
class MadeSpan:
    """An item that a decoder makes of the learned text in front of it (`decoders.HiddenDecoder`); it takes no position.

    That text reaches back to what is not learned, or to another such item. `ids` are those that the decoder learns, or
    rows of them; empty where it shall make the item.
    """

    modality: str
    ids: Sequence[Any] = ()

    num_tokens = 0


AnySpan = TextSpan | ItemSpan | MadeSpan
Sample = Sequence[AnySpan]


@dataclass(frozen=True)
class MadeItems:
    """The items of a modality that a decoder makes of words, N in the batch.

    words: (N, P) where the words of each stand, NO_ID behind the last.
    ids: (N, n) or (N, n, k) what its decoder learns, NO_ID behind the last.
    """

    words: Tensor
    ids: Tensor

    def to(self, *args: object, **kwargs: object) -> MadeItems:
        """The same, moved."""
        return MadeItems(self.words.to(*args, **kwargs), self.ids.to(*args, **kwargs))


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
class Cut:
    """What truncation took from a sample: text tokens, labels among them, and whole items by modality."""

    sample: int
    num_text: int
    num_labels: int
    items: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The layout of a batch. Tensors are int64; positions are flat, ``sample * T + t``.

    input_ids: (B, T), the padding id where no text token stands.
    attention_mask: (B, T), 1 = keep. position_ids: (B, T), 0..len-1 on each sample's own rows, 0 on padding.
    labels: (B, T) with IGNORE_INDEX on items, padding, each sample's first position, which nothing predicts, and what
        is not learned; None without labels.
    text_rows: (n,), pad_rows: (m,), item_rows: modality -> (R,), in batch order.
    ragged: modality -> ((R,) item, (R,) feature), where items of a modality differ in length.
    target_rows: (n,), positions whose *next* position has a label: the only ones whose logits the loss needs.
    target_samples: (n,), which sample each of them is of.
    side_ids: (B, T, K), NO_ID where none stands; None where nothing of the batch has any.
    made: modality -> the items that its decoder makes of words.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    labels: Tensor | None
    text_rows: Tensor
    pad_rows: Tensor
    item_rows: Mapping[str, Tensor]
    ragged: Mapping[str, tuple[Tensor, Tensor]]
    target_rows: Tensor | None
    target_samples: Tensor | None
    side_ids: Tensor | None = None
    made: Mapping[str, MadeItems] = field(default_factory=dict)
    samples: tuple[PlannedSample, ...] = ()
    items: tuple[PlannedItem, ...] = ()
    cuts: tuple[Cut, ...] = ()
    padding_side: str = field(default="right")

    @property
    def is_packed(self) -> bool:
        """Whether samples share rows: attention must then be kept within each, by `position_ids`, not by the mask."""
        return len(self.samples) > len(self.input_ids)

    def without_items(self, labels: Tensor) -> Tensor:
        """The labels (B, T) of this batch, IGNORE_INDEX where an item stands."""
        labels = labels.clone()
        for rows in self.item_rows.values():
            labels.view(-1)[rows] = IGNORE_INDEX
        return labels

    def types(self, modalities: Sequence[str]) -> Tensor:
        """(B, T) int64, transformers' `mm_token_type_ids`: n where an item of the n-th modality stands, 0 elsewhere."""
        types = torch.zeros_like(self.input_ids)
        for modality, rows in self.item_rows.items():
            types.view(-1)[rows] = 1 + modalities.index(modality)
        return types

    @property
    def target_sides(self) -> Tensor | None:
        """(n, K), the side ids at the positions behind the target rows: they are learned, too."""
        if self.side_ids is None:
            return None
        return self.side_ids.flatten(0, 1).index_select(0, self.target_rows + 1)  # (n, K)

    def kept(self, modality: str) -> list[PlannedItem]:
        """The items of a modality that are in the batch, in order."""
        return [item for item in self.items if item.modality == modality]

    def to(self, *args: object, **kwargs: object) -> Plan:
        """The same plan with its tensors moved, as ``Tensor.to`` does; dtypes stay."""
        moved = lambda t: t.to(*args, **kwargs) if t is not None else None  # noqa: E731
        names = ("input_ids", "attention_mask", "position_ids", "labels", "side_ids", "text_rows", "pad_rows")
        return replace(
            self,
            **{name: moved(getattr(self, name)) for name in (*names, "target_rows", "target_samples")},
            item_rows={m: moved(rows) for m, rows in self.item_rows.items()},
            ragged={m: (moved(a), moved(b)) for m, (a, b) in self.ragged.items()},
            made={m: items.to(*args, **kwargs) for m, items in self.made.items()},
        )


def plan(
    samples: Sequence[Sample],
    *,
    pad_id: int = 0,
    padding_side: str = "right",
    max_length: int | None = None,
    packs: Sequence[int] | None = None,
    names: Sequence[str] = (),
) -> Plan:
    """Lay out a batch.

    Example:
        >>> p = plan([[TextSpan([1, 5]), ItemSpan("image", 3), TextSpan([6], labels=[6])]])
        >>> p.input_ids.tolist(), p.item_rows["image"].tolist()
        ([[1, 5, 0, 0, 0, 6]], [2, 3, 4])

    Args:
        samples: the spans of each sample, in order. Items of a modality are counted through the batch.
        pad_id: the id that stands where no text token does; any row of the embedding.
        padding_side: ``right`` (training) or ``left`` (generation).
        max_length: keep this many positions of a sample at most. An item that would be cut is left out
            whole, with all that follows it; `Plan.cuts` says what was lost.
        packs: how many samples, in order, stand behind one another in each row; default: one. Each counts its
            positions from 0 (Krell et al. 2021).
        names: of the samples, for messages.

    Raises:
        FusionError: labels or side ids of another length than their ids; a negative count; an unknown padding side;
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
    kept, cuts = [], []
    for number, sample in enumerate(samples):
        spans, cut = _truncate(sample, number, max_length, seen)
        kept.append(spans)
        if cut is not None:
            cuts.append(cut)
    return _lay_out(kept, packs or [1] * len(kept), names, tuple(cuts), list(seen), pad_id, padding_side)


def without_labels(sample: Sample) -> Sample:
    """The same where nothing is learned, so that no item is made of it either."""
    kept = (span for span in sample if not isinstance(span, MadeSpan))
    return [replace(span, labels=None) if isinstance(span, TextSpan) else span for span in kept]


def plan_of_types(
    input_ids: Tensor,
    attention_mask: Tensor | None,
    types: Tensor,
    planned: Sequence[PlannedItem],
    modalities: Sequence[str],
) -> Plan:
    """The plan of a batch by what stands at each position, whatever was put behind it, moved or padded since.

    Args:
        input_ids, types: (B, T), see `Plan.types`; attention_mask: (B, T), 1 = keep, None: all.
        planned: the items that come with the batch; their order is the same, wherever they stand.

    Raises:
        FusionError: tensors of several shapes; other than all positions of the items, of which truncation took some.
    """
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    if not input_ids.shape == mask.shape == types.shape:
        raise FusionError(
            f"mm_token_type_ids {tuple(types.shape)} do not belong to input_ids {tuple(input_ids.shape)} and "
            f"attention_mask {tuple(mask.shape)}: they say what stands at each position"
        )
    flat, kept = types.flatten(), mask.flatten() != 0  # (B*T,)
    rows = {
        m: _rows_of_type(m, kept & (flat == n), [item.num_tokens for item in planned if item.modality == m])
        for n, m in enumerate(modalities, 1)
    }
    starts, lengths = mask.int().argmax(1).tolist(), mask.sum(1).tolist()
    return Plan(
        input_ids=input_ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).masked_fill(mask == 0, 0),
        labels=None,
        text_rows=(kept & (flat == 0)).nonzero()[:, 0],
        pad_rows=(~kept).nonzero()[:, 0],
        item_rows={m: found for m, found in rows.items() if len(found)},
        ragged={m: (a.to(flat.device), b.to(flat.device)) for m, (a, b) in _ragged(planned).items()},
        target_rows=None,
        target_samples=None,
        samples=tuple(PlannedSample(row, *where) for row, where in enumerate(zip(starts, lengths, strict=True))),
        items=_moved(planned, rows, input_ids.shape[1]),
        padding_side="right" if (mask[:, -1:] == 0).any() else "left",
    )


def _rows_of_type(modality: str, mine: Tensor, sizes: Sequence[int]) -> Tensor:
    """The rows (R,) of a modality that are marked in `mine`, (B*T,); `sizes`: those of its items.

    Raises:
        FusionError: see `plan_of_types`.
    """
    rows = mine.nonzero()[:, 0]  # (R,)
    if len(rows) != sum(sizes):
        raise FusionError(
            f"{len(sizes)} {modality} item(s) take {sum(sizes)} positions, and mm_token_type_ids keep {len(rows)} of "
            "them: truncation or another program took some; give a larger max_length, or fewer or smaller items"
        )
    return rows


def _moved(planned: Sequence[PlannedItem], rows: Mapping[str, Tensor], length: int) -> tuple[PlannedItem, ...]:
    """The items at other positions: rows of each modality (R,), in the same order."""
    places = {modality: iter(found.tolist()) for modality, found in rows.items()}
    moved = []
    for item in planned:
        first, *_ = [*islice(places[item.modality], item.num_tokens), 0]
        moved.append(replace(item, row=first // length, start=first % length))
    return tuple(moved)


def join_batches(
    plans: Sequence[Plan], items: Sequence[Mapping[str, Mapping[str, Tensor]]]
) -> tuple[list[PlannedItem], dict[str, dict[str, Tensor]]]:
    """Batches that another program put in a list each, as one: what is planned, and the items' tensors.

    Raises:
        FusionError: tensors that cannot be put behind one another.
    """
    planned: list[PlannedItem] = []
    samples = 0
    for plan in plans:
        before = {m: sum(item.modality == m for item in planned) for m in plan.item_rows}
        planned += [
            replace(item, sample=item.sample + samples, index=item.index + before[item.modality]) for item in plan.items
        ]
        samples += len(plan.samples)
    modalities = sorted({modality for each in items for modality in each})
    return planned, {m: _join_inputs(m, [each[m] for each in items if m in each]) for m in modalities}


def _join_inputs(modality: str, inputs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """
    Raises:
        FusionError: see `join_batches`.
    """
    shapes = [{name: (value.shape[1:], value.dtype) for name, value in each.items()} for each in inputs]
    if any(each != shapes[0] for each in shapes) or "window_rows" in shapes[0]:
        raise FusionError(
            f"the {modality} items of this batch differ in size and were not collated by the processor; give it all "
            "conversations in one call, or leave batch_size out"
        )
    return {name: torch.cat([each[name] for each in inputs]) for name in shapes[0]}


def fuse(plan: Plan, text: Tensor, features: Mapping[str, Tensor]) -> Tensor:
    """Text rows and feature rows at the places of the plan; padding is zero.

    Pure, differentiable in `text` and `features`, without a host sync; device and dtype are those of `text`.

    Args:
        text: (n, D), the embeddings of ``plan.input_ids`` at ``plan.text_rows``.
        features: modality -> (R, D), what `gather_rows` makes of a connector's output.

    Returns:
        (B, T, D)
    """
    batch, length = plan.input_ids.shape
    places, sources = [plan.text_rows], [text]
    for modality, rows in plan.item_rows.items():
        places.append(rows)
        sources.append(features[modality].to(text.dtype))
    if torch.compiler.is_compiling():  # a compiler makes its own copies, and differentiates what it sees
        empty = text.new_zeros(batch * length, text.shape[-1])  # (B*T, D)
        out = empty.index_copy(0, torch.cat(places), torch.cat(sources))  # (B*T, D)
    else:
        out = _Place.apply(batch * length, plan.pad_rows, *places, *sources)  # (B*T, D)
    return out.view(batch, length, text.shape[-1])  # (B, T, D)


class _Place(torch.autograd.Function):
    """Rows of several sources, each at its places in one new tensor, and zero at the places of padding.

    A chain of in-place `index_copy_` has the same values, but its backward copies the whole gradient once per link;
    here each source that wants a gradient reads its own rows of it, once.
    """

    @staticmethod
    def forward(num_rows: int, pad_rows: Tensor, *places_and_sources: Tensor) -> Tensor:
        half = len(places_and_sources) // 2
        return _copy_rows(num_rows, pad_rows, places_and_sources[:half], places_and_sources[half:])  # (B*T, D)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[2 : 2 + len(inputs[2:]) // 2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        places = ctx.saved_tensors
        wanted = ctx.needs_input_grad[-len(places) :]
        grads = [_rows_of(grad, rows) if want else None for rows, want in zip(places, wanted, strict=True)]
        return (None, None, *[None] * len(places), *grads)


def _copy_rows(num_rows: int, pad_rows: Tensor, places: Sequence[Tensor], sources: Sequence[Tensor]) -> Tensor:
    """A new tensor (num_rows, D): each source's rows at its places, zero at the places of padding.

    Autograd does not see it: through `Tensor.view` of a dtype no gradient goes.
    """
    out = sources[0].new_empty(num_rows, sources[0].shape[-1])  # (num_rows, D)
    out.index_fill_(0, pad_rows, 0.0)
    for rows, source in zip(places, sources, strict=True):
        unit = torch.complex128 if _can_widen(source) else source.dtype
        out.view(unit).index_copy_(0, rows, source.view(unit))
    return out


def _rows_of(tensor: Tensor, rows: Tensor) -> Tensor:
    """``tensor[rows]``, (R, D); `gather` on an expanded index has a faster kernel than `index_select`, and `index`."""
    return tensor.gather(0, rows[:, None].expand(-1, tensor.shape[-1]))  # (R, D)


def _can_widen(rows: Tensor) -> bool:
    """Whether rows can be copied as the widest numbers there are: on the CPU a copy is paid by the element."""
    if not (rows.is_cpu and rows.is_contiguous()):
        return False
    size, widest = rows.element_size(), torch.complex128.itemsize
    return rows.shape[-1] * size % widest == 0 and rows.storage_offset() * size % widest == 0


def gather_rows(plan: Plan, modality: str, features: Tensor) -> Tensor:
    """A connector's output (N, P', D) as the rows (R, D) that the plan has places for, padding left out."""
    if modality in plan.ragged:
        item, row = plan.ragged[modality]
        return features[item, row]  # (R, D)
    return features.flatten(0, 1)  # (N*P', D)


def check_features(plan: Plan, modality: str, shape: Sequence[int]) -> None:
    """Compare the plan with the static shape (N, P', D) of what a connector made; reads nothing on the device.

    Raises:
        FusionError: another number of items, or too few rows; names the sample, the item and both numbers.
    """
    items = plan.kept(modality)
    if len(items) != shape[0]:
        raise FusionError(f"the plan has {len(items)} {modality} item(s), {shape[0]} came with the batch")
    for item in items:
        fits = item.num_tokens <= shape[1] if modality in plan.ragged else item.num_tokens == shape[1]
        if not fits:
            raise FusionError(
                f"sample {item.sample}, {modality} {item.index}: expected {item.num_tokens} rows, "
                f"the connector made {shape[1]}; num_features and num_tokens must agree with the network"
            )


def check_inputs(plan: Plan | None, items: Mapping[str, Any] | None, cache: Any, **inputs: Any) -> None:
    """Compare the plan of a batch with what comes beside it, by static shapes; reads nothing on the device.

    Args:
        cache: of keys and values, or None; an attention mask may be longer by what it holds.
        inputs: by name, those of `TinyLlavaForConditionalGeneration.forward`, or None.

    Raises:
        FusionError: one is of another shape than what the plan lays out; items that would be ignored.
    """
    text = [name for name in ("inputs_embeds", "input_ids") if inputs.get(name) is not None]
    if items and text and (plan is None or text[0] == "inputs_embeds"):
        raise FusionError(
            f"{', '.join(items)} items come with {text[0]} and would be ignored: they need the plan that says where "
            "they stand, and no inputs_embeds; give the batch as the processor made it (prompt tuning cannot; LoRA can)"
        )
    for name, value in inputs.items() if plan is not None else ():
        if isinstance(value, Tensor) and not (name == "attention_mask" and value.ndim != 2):
            _check_shape(plan, name, tuple(value.shape[:2]), cache)


def _check_shape(plan: Plan, name: str, shape: tuple[int, ...], cache: Any) -> None:
    """
    Raises:
        FusionError: see `check_inputs`.
    """
    batch, length = plan.input_ids.shape
    if shape == (batch, length):
        return
    past = int(cache.get_seq_length()) if name == "attention_mask" and cache is not None else 0
    if shape != (batch, length + past):
        raise FusionError(
            f"{name} {shape} does not belong to the plan, which lays out {(batch, length)}: a plan is of one batch as "
            "the processor made it; make the batch anew of the whole conversation, and put no rows in front of it "
            "(prompt tuning does; LoRA does not)"
        )


def _checked(sample: Sample, number: int) -> Sample:
    for span in sample:
        if isinstance(span, TextSpan):
            if span.labels is not None and len(span.labels) != len(span.ids):
                raise FusionError(f"sample {number}: {len(span.ids)} ids but {len(span.labels)} labels")
            if span.sides is not None and len(span.sides) != len(span.ids):
                raise FusionError(f"sample {number}: {len(span.ids)} ids but side ids at {len(span.sides)} positions")
        elif span.num_tokens < 0:
            raise FusionError(f"sample {number}: {span.modality} item with {span.num_tokens} tokens")
    return sample


def _truncate(
    sample: Sample, number: int, max_length: int | None, seen: dict[str, int]
) -> tuple[list[tuple[AnySpan, int]], Cut | None]:
    """The spans that fit, items with their index over the batch; and what was lost. Counts items in `seen`."""
    spans: list[tuple[AnySpan, int]] = []
    room = max_length if max_length is not None else sum(map(_length, sample))
    lost_text, lost_labels, lost_items, full = 0, 0, {}, False
    for span in sample:
        if isinstance(span, MadeSpan):
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
    cut = Cut(number, lost_text, lost_labels, lost_items) if lost_text or lost_items else None
    return spans, cut


def _has_sides(span: AnySpan) -> bool:
    return isinstance(span, TextSpan) and bool(span.sides)


def _length(span: AnySpan) -> int:
    return len(span.ids) if isinstance(span, TextSpan) else span.num_tokens


def _lay_out(
    samples: list[list[tuple[AnySpan, int]]],
    packs: Sequence[int],
    names: Sequence[str],
    cuts: tuple[Cut, ...],
    modalities: list[str],
    pad_id: int,
    padding_side: str,
) -> Plan:
    """Write the spans into (B, T) arrays, then read the rows of each kind off them."""
    placed = _place_samples([sum(_length(span) for span, _ in spans) for spans in samples], packs, padding_side)
    shape = (len(packs), max((sample.start + sample.num_tokens for sample in placed), default=0))
    ids = np.full(shape, pad_id, np.int64)
    kinds = np.full(shape, _PAD, np.int64)
    positions = np.zeros(shape, np.int64)
    numbers = np.zeros(shape, np.int64)  # of the samples
    labels = np.full(shape, IGNORE_INDEX, np.int64)
    num_sides = next((len(span.sides[0]) for spans in samples for span, _ in spans if _has_sides(span)), 0)
    sides = np.full((*shape, num_sides), NO_ID, np.int64)
    codes = {modality: code for code, modality in enumerate(modalities, _TEXT + 1)}
    items: list[PlannedItem] = []
    made: dict[str, list[tuple[np.ndarray, Sequence[Any]]]] = {}
    labelled = False
    for number, (sample, spans) in enumerate(zip(placed, samples, strict=True)):
        row, at = sample.row, sample.start
        free = at  # where no word of a made item stands yet
        positions[row, at : at + sample.num_tokens] = np.arange(sample.num_tokens)
        numbers[row, at : at + sample.num_tokens] = number
        for span, index in spans:
            end = at + _length(span)
            if isinstance(span, MadeSpan):
                called = names[number] if number < len(names) else f"sample {number}"
                words = _words(labels[row, free:at], called, span.modality) + row * shape[1] + free  # (P,)
                made.setdefault(span.modality, []).append((words, span.ids))
                free = at
            elif isinstance(span, ItemSpan):
                kinds[row, at:end] = codes[span.modality]
                items.append(PlannedItem(span.modality, index, number, row, at, span.num_tokens))
            else:
                kinds[row, at:end] = _TEXT
                ids[row, at:end] = span.ids
                if _has_sides(span):
                    sides[row, at:end] = span.sides
                if span.labels is not None:
                    labelled = True
                    labels[row, at:end] = span.labels
            at = end
        if sample.num_tokens:
            labels[row, sample.start] = IGNORE_INDEX
    flat = kinds.ravel()
    targets = np.zeros(shape, bool)
    targets[:, :-1] = labels[:, 1:] != IGNORE_INDEX
    return Plan(
        input_ids=torch.from_numpy(ids),
        attention_mask=torch.from_numpy((kinds != _PAD).astype(np.int64)),
        position_ids=torch.from_numpy(positions),
        labels=torch.from_numpy(labels) if labelled else None,
        text_rows=_where(flat == _TEXT),
        pad_rows=_where(flat == _PAD),
        item_rows={m: _where(flat == code) for m, code in codes.items() if (flat == code).any()},
        ragged=_ragged(items),
        target_rows=_where(targets.ravel()) if labelled else None,
        target_samples=torch.from_numpy(numbers[targets]) if labelled else None,
        side_ids=torch.from_numpy(sides) if num_sides else None,
        made={modality: _made_items(each) for modality, each in sorted(made.items())},
        samples=tuple(replace(each, name=name) for each, name in zip_longest(placed, names, fillvalue="")),
        items=tuple(items),
        cuts=cuts,
        padding_side=padding_side,
    )


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


def _ragged(items: Sequence[PlannedItem]) -> dict[str, tuple[Tensor, Tensor]]:
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


def _made_items(items: Sequence[tuple[np.ndarray, Sequence[Any]]]) -> MadeItems:
    words = [torch.from_numpy(each) for each, _ in items]
    ids = [torch.tensor(each, dtype=torch.int64) for _, each in items]
    pad = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True, padding_value=NO_ID)
    return MadeItems(pad(words), pad(ids))  # (N, P), (N, n) or (N, n, k)


def _where(mask: np.ndarray) -> Tensor:
    return torch.from_numpy(np.flatnonzero(mask))
