"""What contracts compare: to the bit, to a tolerance, and what JSON gives back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from tinyllava_kit import KitError
from tinyllava_kit.testing.comparing import (
    check_close,
    check_refused,
    distance,
    random_state,
    refusal,
    same,
    through_json,
)


@dataclass
class Sound:
    samples: np.ndarray


@pytest.mark.parametrize("kind", [torch.tensor, np.array, list, lambda values: Sound(np.array(values))])
def test_floats_of_any_kind_are_the_same_within_a_tolerance(kind):
    values = [1.0, -2.0, float("nan"), float("inf")]
    near = [value * (1 + 1e-6) for value in values]
    assert same(kind(values), kind(values))
    assert not same(kind(values), kind(near))
    assert same(kind(values), kind(near), tolerance=1e-5)
    assert not same(kind(values), kind([1.1, *values[1:]]), tolerance=1e-5)
    assert not same(kind(values), kind([*values[:2], 0.0, float("inf")]), tolerance=1e-5)


def test_shapes_that_could_be_stretched_are_not_the_same():
    for kind in (torch.ones, np.ones):
        assert not same(kind((3, 1)), kind((3, 3)), tolerance=1.0)
        assert not same(kind(0), kind((0, 2)))
    assert same(np.ones(0), np.ones(0))


def test_numbers_that_are_no_floats_have_no_tolerance():
    for kind in (torch.tensor, np.array):
        assert not same(kind([100, 200]), kind([100, 201]), tolerance=0.5)
    assert not same(100, 101, tolerance=0.5)
    assert not same(np.array([1.0]), np.array(["1.0"]))
    assert not same({"a": 1.0}, {"b": 1.0}, tolerance=1.0)


def test_the_distance_is_relative():
    one, other = torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5])
    assert distance(other, one) == pytest.approx(0.5 / 5)
    check_close(other, one, 0.11, "it")
    with pytest.raises(AssertionError, match=r"^it: features differ by 0\.1, expected less than 0\.09"):
        check_close(other, one, 0.09, "it")
    with pytest.raises(AssertionError, match=r"^it: shapes \(1, 2\) and \(2,\)"):
        check_close(other[None], one, 1.0, "it")


@pytest.mark.parametrize("value", [(1, 2), {"a": (1,)}, {1: "a"}])
def test_what_json_gives_back_as_something_else_is_not_plain(value):
    with pytest.raises(AssertionError, match=r"not plain JSON: .* comes back as "):
        through_json(value)
    assert through_json({"a": [1, 2.5, None, "b"]}) == {"a": [1, 2.5, None, "b"]}


@pytest.mark.parametrize("draw", [lambda: torch.rand(1), lambda: np.random.rand(), __import__("random").random])
def test_every_draw_changes_the_random_state(draw):
    before = random_state()
    assert random_state() == before
    draw()
    assert random_state() != before


def refuse(message):
    raise KitError(message)


def test_a_refusal_is_one_line_that_names_what_it_is_of():
    assert refusal(refuse, "no such file") == "no such file"
    assert refusal(int) == ""
    with pytest.raises(ValueError, match="another"):
        refusal(lambda: (_ for _ in ()).throw(ValueError("another")))
    check_refused(lambda: refuse("no file 'a'"), "it", named="a")
    for ask, message in (
        (int, r"^it: not refused\b"),
        (lambda: refuse("a\nb"), "^it: more than one line"),
        (lambda: refuse("no file"), "^it: does not name 'a': no file"),
    ):
        with pytest.raises(AssertionError, match=message):
            check_refused(ask, "it", named="'a'")
