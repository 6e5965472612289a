"""The delay of codebooks, against a slow loop, and the contract of a decoder that has some."""

from __future__ import annotations

import pytest
import torch

from tests.model.vocabulary.codes import CODEBOOKS, SIZE, CodesContract, codes_grammar, steps
from tinyllava_kit import KitError
from tinyllava_kit.model.vocabulary.codebooks import DelayPattern, FlatPattern, delayed, undelayed


@pytest.mark.slow
class TestCodes(CodesContract):
    """Items as short as one step."""


def slow_delayed(codes: list[list[int]]) -> list[list[int]]:
    codebooks, count = len(codes), len(codes[0])
    return [
        [codes[codebook][at - codebook] if 0 <= at - codebook < count else -1 for codebook in range(codebooks)]
        for at in range(count + codebooks - 1)
    ]


@pytest.mark.parametrize(("codebooks", "count"), [(1, 4), (2, 1), (3, 7), (5, 2)])
def test_books_are_delayed_as_by_a_slow_loop(codebooks, count):
    codes = torch.arange(codebooks * count).view(codebooks, count)
    rows = delayed(codes)
    assert rows.tolist() == slow_delayed(codes.tolist())
    assert torch.equal(undelayed(rows), codes)
    for cut in range(codebooks, len(rows)):
        assert torch.equal(undelayed(rows[:cut]), codes[:, : cut - codebooks + 1])


def test_the_sides_that_stand_are_those_that_have_an_id():
    layout = DelayPattern(CODEBOOKS, SIZE)
    grammar = codes_grammar(layout, "m")
    for count in range(1, 6):
        ids = layout.to_ids(torch.tensor(steps(count, count)).T)
        whole = grammar.enclosed("m", ids, "it")
        parallel = torch.tensor(grammar.parallel_ids("m", ids))
        row = torch.tensor([[3, 4, *whole, 5, *whole]])
        none = torch.full((1, CODEBOOKS - 1), -1)
        expected = torch.cat([none, none, parallel, none, parallel])
        assert torch.equal(grammar.standing(row)[0], expected >= 0)
        assert [grammar.may_break(each, n) for n, each in enumerate(whole[1:-1], 1)] == [
            n >= CODEBOOKS for n in range(1, len(ids) + 1)
        ]


def test_one_book_has_no_delay():
    with pytest.raises(KitError, match="needs two or more, got 1; take the pattern 'flat'"):
        DelayPattern(1, SIZE)
    assert FlatPattern(2, 5).to_ids(torch.tensor([[1, 2], [3, 4]])).tolist() == [1, 8, 2, 9]
