"""Batches that other programs have put together: their plan, by the kind of each position.

Legend: B rows of the batch, T positions of the longest, R rows of a modality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ..core.plan import Plan, PlannedItem, PlannedSample, ragged_rows
from ..errors import FusionError


def plan_of_types(
    input_ids: Tensor,
    attention_mask: Tensor | None,
    types: Tensor,
    planned: Sequence[PlannedItem],
    modalities: Sequence[str],
) -> Plan:
    """The plan of a batch by the kind of each position, whatever was appended, moved or padded since.

    Args:
        input_ids, types: (B, T), see `Plan.types`; attention_mask: (B, T), 1 = keep, None: all.
        planned: the items that come with the batch; their order is the same, wherever they stand.

    Raises:
        FusionError: tensors of several shapes; positions of items are missing, because truncation cut them off.
    """
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    if not input_ids.shape == mask.shape == types.shape:
        raise FusionError(
            f"mm_token_type_ids {tuple(types.shape)} do not belong to input_ids {tuple(input_ids.shape)} and "
            f"attention_mask {tuple(mask.shape)}: they say what each position holds"
        )
    flat, kept = types.flatten(), mask.flatten() != 0  # (B*T,)
    rows = {
        m: _rows_of_type(m, kept & (flat == n), [item.num_tokens for item in planned if item.modality == m])
        for n, m in enumerate(modalities, 1)
    }
    starts, lengths = mask.int().argmax(1).tolist(), mask.sum(1).tolist()
    return Plan(
        shape=(input_ids.shape[0], input_ids.shape[1]),
        text_positions=(kept & (flat == 0)).nonzero()[:, 0],
        pad_positions=(~kept).nonzero()[:, 0],
        item_positions={m: found for m, found in rows.items() if len(found)},
        ragged={m: (a.to(flat.device), b.to(flat.device)) for m, (a, b) in ragged_rows(planned).items()},
        target_positions=None,
        target_samples=None,
        samples=tuple(PlannedSample(row, *where) for row, where in enumerate(zip(starts, lengths, strict=True))),
        items=_moved(planned, rows, input_ids.shape[1]),
        padding_side="right" if (mask[:, -1:] == 0).any() else "left",
    )


def items_of_types(
    given: dict[str, Any],
    towers: Mapping[str, Any],
    attention_mask: Tensor | None,
    types: Tensor,
    modalities: Sequence[str],
) -> tuple[dict[str, dict[str, Tensor]] | None, list[PlannedItem]]:
    """The items whose tensors are `given` under the names that their towers take, removed from the arguments, and where
    they stand; None where there are none.

    Raises:
        FusionError: they do not belong to `types`.
    """
    items = _take_items(given, towers, types, modalities)
    return items or None, _planned_of_types(items, attention_mask, types, modalities)


def _take_items(
    given: dict[str, Any], towers: Mapping[str, Any], types: Tensor, modalities: Sequence[str]
) -> dict[str, dict[str, Tensor]]:
    """The items whose tensors are `given` under the names that their towers take, as transformers' processors do
    (``pixel_values=``); removes them from the arguments.

    Args:
        types: (B, T), see `Plan.types`: of two towers that take the same names, it says whose items they are.

    Raises:
        FusionError: there are items, and no position of theirs.
    """
    found: dict[str, dict[str, Tensor]] = {}
    there = {m: bool((types == n).any()) for n, m in enumerate(modalities, 1)}
    for modality in sorted(towers, key=lambda each: not there[each]):
        names = [name for name in signature(towers[modality].forward).parameters if given.get(name) is not None]
        inputs = {name: given.pop(name) for name in names}
        count = len(next(iter(inputs.values()), ()))
        if count and not there[modality]:
            raise FusionError(f"{count} {modality} item(s) are given, and mm_token_type_ids have no place for them")
        if count:
            found[modality] = inputs
    return found


def _planned_of_types(
    items: Mapping[str, Mapping[str, Tensor]], attention_mask: Tensor | None, types: Tensor, modalities: Sequence[str]
) -> list[PlannedItem]:
    """Items that all take as many positions, where `types`, (B, T), say that such stand.

    Raises:
        FusionError: their positions cannot be shared out evenly.
    """
    planned = []
    kept = types if attention_mask is None else types * (attention_mask != 0)  # (B, T)
    for modality, inputs in items.items():
        rows = (kept.flatten() == 1 + modalities.index(modality)).nonzero()[:, 0]  # (R,)
        count = len(next(iter(inputs.values())))
        if len(rows) % count:
            raise FusionError(
                f"{count} {modality} item(s) do not fill {len(rows)} positions: truncation or another program took "
                "some; give a larger max_length, or the items of these rows alone"
            )
        each = len(rows) // count
        for index, first in enumerate(rows[::each].tolist()):
            row, start = divmod(first, types.shape[1])
            planned.append(PlannedItem(modality, index, row, row, start, each))
    return planned


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
    """Batches that another program put in a list each, as one: the plan's inputs, and the items' tensors.

    Raises:
        FusionError: tensors that cannot be put behind one another.
    """
    planned: list[PlannedItem] = []
    samples = 0
    for plan in plans:
        before = {m: sum(item.modality == m for item in planned) for m in plan.item_positions}
        planned += [
            replace(item, sample=item.sample + samples, index=item.index + before[item.modality]) for item in plan.items
        ]
        samples += len(plan.samples)
    modalities = sorted({modality for each in items for modality in each})
    return planned, {m: _join_inputs(m, [each[m] for each in items if m in each]) for m in modalities}


def _join_inputs(modality: str, inputs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Concatenate a modality's tensors of several batches, name by name, along the rows.

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
