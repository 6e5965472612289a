"""Ids of rows: no id means two things, and what is needed stays."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from tinyllava_kit.serving.item_rows import ItemRows, RowsInUseError

V, D = 13, 5


def rows(number: int, seed: int) -> torch.Tensor:
    return torch.randn(number, D, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def held() -> ItemRows:
    return ItemRows(nn.Embedding(V, D), 11)


def test_ids_of_the_vocabulary_and_of_rows_are_looked_up_in_one_go(held):
    made = rows(3, 1)
    ids = held.put("a", made).ids
    mixed = torch.tensor([[2, *ids, 12]])
    assert torch.equal(held(mixed)[0, 1:4], made)
    assert torch.equal(held(mixed)[0, [0, 4]], held.base(torch.tensor([2, 12])))


def test_no_id_means_two_things_and_what_is_needed_stays(held):
    draw = random.Random(0)
    meant: dict[int, tuple[str, int]] = {}
    pinned = {}
    for turn in range(400):
        key = f"item {draw.randrange(9)} of {draw.randrange(1, 4)}"
        size = int(key[-1])
        if key in pinned:
            held.release(pinned.pop(key)[0])
            continue
        found = held.take(key)
        made = rows(size, turn)
        try:
            found = held.put(key, made) if found is None else found
        except RowsInUseError:
            held.release(pinned.pop(draw.choice(sorted(pinned)))[0])
            continue
        pinned[key] = found, held(torch.tensor(found.ids)).clone()
        for place, each in enumerate(found.ids):
            content = key, hash(tuple(held(torch.tensor([each])).flatten().tolist()))
            assert meant.setdefault(each, (*content, place)) == (*content, place)
        for wanted, kept in pinned.values():
            assert torch.equal(held(torch.tensor(wanted.ids)), kept)
    assert len(meant) > 100


def test_rows_that_are_all_needed_leave_no_room(held):
    held.put("a", rows(7, 0))
    with pytest.raises(RowsInUseError, match="an item takes 5 rows, and 7 of the 11 that are held at"):
        held.put("b", rows(5, 1))
    assert held.used == 7


def test_what_was_released_before_ids_begin_anew_is_nobodys(held):
    old = held.put("a", rows(7, 0))
    held.clear()
    new = held.put("b", rows(7, 0))
    held.release(old)
    assert (new.users, held.pinned) == (1, 7)


def test_ids_run_out_below_32_bits(held):
    held._laps = [held._num_laps - 1] * 11
    ids = held.put("a", rows(11, 0)).ids
    assert max(ids) < 2**31
    held._items["a"].users = 0
    with pytest.raises(RowsInUseError, match="an item takes 1 rows"):
        held.put("b", rows(1, 0))
    assert held.is_worn


def test_one_slot_whose_ids_have_run_out_is_enough_to_begin_anew(held):
    held._laps[3] = held._num_laps - 1
    held.put("a", rows(11, 0))
    held._items["a"].users = 0
    assert not held.is_worn
    held.put("b", rows(10, 0))
    assert held.is_worn
    held.clear()
    assert not held.is_worn
