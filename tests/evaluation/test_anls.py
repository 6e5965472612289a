"""Nearness in edits, against the definition."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllava_kit.evaluation.anls import anls, edits, similarity
from tinyllava_kit.evaluation.judged import Judged


@cache
def slow_edits(one, other):
    if not one or not other:
        return len(one) + len(other)
    exchanged = slow_edits(one[1:], other[1:]) + (one[0] != other[0])
    return min(exchanged, slow_edits(one[1:], other) + 1, slow_edits(one, other[1:]) + 1)


short = st.text("abc", max_size=6)


@given(short, short)
def test_edits_are_those_of_the_definition(one, other):
    assert edits(one, other) == slow_edits(one, other)


@pytest.mark.parametrize(
    ("said", "truth", "wanted"),
    [
        ("STOP ", "stop", 1.0),
        ("stip", "stop", 0.75),
        ("st", "stop", 0.5),
        ("s", "stop", 0.0),
        ("", "stop", 0.0),
        ("", "", 1.0),
    ],
)
def test_what_is_less_than_half_alike_counts_as_nothing(said, truth, wanted):
    assert similarity(said, truth) == wanted


def test_anls_takes_the_nearest_truth():
    rows = [Judged("a", "?", ("stop", "halt"), "hilt"), Judged("b", "?", ("stop",), "go")]
    assert anls(rows)["ANLS"].value == pytest.approx(0.75 / 2)
