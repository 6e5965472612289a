"""Items of any kind: their numbers are found, changed and compared, in whatever they are kept."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from tinyllava_kit.testing.changed_items import as_array, changed, num_axes, numbers_in, other_content
from tinyllava_kit.testing.comparing import same

NOISE = np.random.default_rng(0).normal(0, 1, (5, 7, 3))


@dataclass(frozen=True)
class Depth:
    camera: np.ndarray
    metres: np.ndarray
    name: str = "depth"


class Cloud:
    """No dataclass, and without ``==``."""

    def __init__(self, points: np.ndarray) -> None:
        self.points = points


class Note(NamedTuple):
    pitch: int
    seconds: float


def holes() -> np.ndarray:
    found = NOISE[..., 0].astype(np.float32)
    found[1, 2:5] = np.nan
    return found


# kind of item -> what makes one, and the shape of what is found in it; None: nothing is.
ITEMS: dict[str, tuple[Callable[[], Any], tuple[int, ...] | None]] = {
    "tensor": (lambda: torch.from_numpy(NOISE), (5, 7, 3)),
    "bfloat16": (lambda: torch.from_numpy(NOISE).bfloat16(), (5, 7, 3)),
    "bool array": (lambda: NOISE > 0, (5, 7, 3)),
    "bytes": (lambda: np.arange(250, 256, dtype=np.uint8), (6,)),
    "complex array": (lambda: NOISE[..., 0] + 1j * NOISE[..., 1], (5, 7)),
    "array with NaN": (holes, (5, 7)),
    "array with infinity": (lambda: np.array([1.0, np.inf, -2.0]), (3,)),
    "picture": (lambda: Image.fromarray(np.arange(105, dtype=np.uint8).reshape(5, 7, 3)), (5, 7, 3)),
    "numbers": (lambda: [0.5, 0.25, 1.0, 0.0], (4,)),
    "frames": (lambda: list(NOISE), (5, 7, 3)),
    "ragged": (lambda: [NOISE[:2], NOISE[:4, 0], NOISE[0, 0]], (2, 7, 3)),
    "ragged lists": (lambda: [[[1, 2], [3, 4], [5, 6]], [[7, 8]]], (3, 2)),
    "mapping": (lambda: {"camera": np.eye(3), "metres": NOISE}, (5, 7, 3)),
    "dataclass": (lambda: Depth(np.eye(3), NOISE), (5, 7, 3)),
    "object": (lambda: Cloud(NOISE[0]), (7, 3)),
    "pairs": (lambda: (NOISE[0], 16_000), (7, 3)),
    "named tuples": (lambda: [Note(1, 0.5), Note(2, 0.25)], None),
    "text": (lambda: "words", None),
    "array of words": (lambda: np.array(["a", "b"]), None),
    "nothing": (list, None),
}
FOUND = {name: row for name, row in ITEMS.items() if row[1] is not None}


@pytest.mark.parametrize("name", ITEMS)
def test_the_largest_array_is_found_and_put_back(name: str) -> None:
    make, shape = ITEMS[name]
    found = as_array(make())
    assert (None if found is None else found[0].shape) == shape
    assert num_axes(make()) == len(shape or ())
    if found is not None:
        assert same(found[1](found[0]), make())


@pytest.mark.parametrize("name", FOUND)
def test_another_content_has_the_size_and_type_and_leaves_the_item(name: str) -> None:
    item = FOUND[name][0]()
    before = pickle.dumps(item)
    other, again = other_content(item), other_content(item)
    assert pickle.dumps(item) == before
    assert type(other) is type(item)
    assert same(other, again)
    assert not same(other, item)
    (one, _), (two, _) = as_array(item), as_array(other)
    assert (one.shape, one.dtype) == (two.shape, two.dtype)
    assert np.array_equal(np.isfinite(one), np.isfinite(two))


@pytest.mark.parametrize("name", FOUND)
def test_a_part_in_another_order_keeps_the_values(name: str) -> None:
    item, shape = FOUND[name]
    for axis in (axis for axis, size in enumerate(shape) if size >= 3):
        other = changed(item(), 2, 3, axis)
        one, two = (np.sort(as_array(each)[0].astype(complex).reshape(-1)) for each in (item(), other))
        assert np.array_equal(one, two, equal_nan=True)


def test_what_has_nothing_to_change_is_left() -> None:
    assert other_content("words") is None
    assert changed("words", 0, 3, 0) is None
    assert changed(NOISE, 0, 3, 5) is None


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_is_the_same_as_one_that_is_made_alike(name: str) -> None:
    make, _ = ITEMS[name]
    assert same(make(), make())
    for other in (row[0] for key, row in ITEMS.items() if key != name):
        assert not same(make(), other())


def test_every_number_is_found_and_no_text() -> None:
    found = numbers_in({"a": Depth(np.eye(3), NOISE), "rate_hz": 8_000, "name": "x", "more": [1.5, (2, torch.ones(2))]})
    assert [each.shape for each in found] == [(3, 3), (5, 7, 3), (), (), (), (2,)]


def test_types_that_differ_are_not_the_same() -> None:
    assert not same(torch.zeros(2), torch.zeros(2, dtype=torch.float64))
    assert not same({"a": 1}, [1])
    assert not same([1], 1)
    assert not same(Depth(NOISE, NOISE), Cloud(NOISE))
    assert not same(Cloud(NOISE), Cloud(NOISE + 1))
    assert not same(lambda: 1, lambda: 2)
