"""The ids of an item that is being generated reach its stream in whole steps, counted as its decoder counts them."""

from __future__ import annotations

from typing import Any

import torch

from tests.model.vocabulary.codes import CODEBOOKS, SIZE, codes_grammar, steps
from tests.model.vocabulary.songs import make
from tinyllava_kit.core.decoders import IdStream
from tinyllava_kit.model.vocabulary.codebooks import DelayPattern
from tinyllava_kit.model.vocabulary.item_ids import ItemIds


class Pushed(IdStream):
    """Gives back what is pushed."""

    def push(self, ids: torch.Tensor) -> Any:
        return ids.tolist()

    def finish(self) -> Any:
        return None


def test_ids_wait_until_an_item_may_be_cut_behind_them() -> None:
    grammar = make()
    first, _ = grammar.span("song")
    item = ItemIds(Pushed(), grammar, "song")
    found = [item.push(first + 2 + each, []) for each in (2, 3, 0, 4)]
    assert found == [None, [2, 3], None, [0, 4]]
    assert item.waiting == 0


def test_every_id_is_a_step_where_an_item_may_end_behind_each() -> None:
    grammar = make()
    first, _ = grammar.span("dance")
    item = ItemIds(Pushed(), grammar, "dance")
    assert [item.push(first + 2 + each, []) for each in (1, 4, 2)] == [[1], None, [4, 2]]


def test_what_stands_beside_comes_along_and_nothing_where_nothing_stands() -> None:
    """The first steps of a delayed item are pushed together: before that, none of them is whole."""
    pattern = DelayPattern(CODEBOOKS, SIZE)
    grammar = codes_grammar(pattern)
    wanted = pattern.to_ids(torch.tensor(steps(0, 4)).T)  # (n, K)
    chosen = wanted[:, 1:].masked_fill(wanted[:, 1:] < 0, 2)  # something is chosen beside every id
    item = ItemIds(Pushed(), grammar, "it", parallel_ids=[torch.zeros(1, CODEBOOKS - 1, dtype=torch.int64)])
    first, _ = grammar.span("it")
    found = [
        item.push(first + 2 + main, [beside[None]]) for main, beside in zip(wanted[:, 0].tolist(), chosen, strict=True)
    ]
    assert found[:2] == [None, None]
    assert found[2] == wanted[:3].tolist()
    assert [row for (row,) in found[3:]] == wanted[3:].tolist()
