"""Ranges of ids behind a vocabulary: where they lie, and those that were saved beside those that are asked for."""

from __future__ import annotations

import pytest

from tinyllava_kit import KitError
from tinyllava_kit.core.ids import ParallelStream, allot, check_parallel, check_ranges, sizes_of

FIRST = 13
WANTED = {"song": {"a": 3, "b": 2}, "dance": {"step": 4, "turn": 1}}


def test_a_decoder_that_asks_for_other_sides_than_were_saved_is_refused():
    parallel = {"m": {"x": ParallelStream(size=3, on=("a",)), "y": ParallelStream(size=4, on=("a",))}}
    saved = sizes_of(parallel)
    check_parallel(saved, parallel)
    for other in (
        {"m": {}},
        {"m": {"y": parallel["m"]["y"], "x": parallel["m"]["x"]}},
        {"m": {"x": parallel["m"]["x"]}},
    ):
        with pytest.raises(KitError, match=r"made with parallel ids \[\['x', 3\], \['y', 4\]\] for its decoder of 'm'"):
            check_parallel(saved, other)


def test_ranges_lie_behind_one_another_with_two_marks_in_front() -> None:
    assert allot({"b": {"x": 5}, "a": {"y": 2, "z": 3}}, 100) == {
        "a": [["begin", 100, 1], ["end", 101, 1], ["y", 102, 2], ["z", 104, 3]],
        "b": [["begin", 107, 1], ["end", 108, 1], ["x", 109, 5]],
    }


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            {**WANTED, "song": {"a": 4, "b": 2}},
            r"made with ids \{'a': 3, 'b': 2\} for its decoder of 'song', which asks",
        ),
        ({"song": WANTED["song"]}, r"decoder of 'dance', which asks for none here; install the version"),
        ({**WANTED, "song": {"b": 2, "a": 3}}, r"asks for \{'b': 2, 'a': 3\}"),
    ],
)
def test_a_decoder_that_asks_for_other_ids_than_were_saved_is_refused(wanted: dict, message: str) -> None:
    check_ranges(allot(WANTED, FIRST), WANTED)
    with pytest.raises(KitError, match=message):
        check_ranges(allot(WANTED, FIRST), wanted)


def test_ranges_that_do_not_lie_behind_one_another_are_refused() -> None:
    saved = allot(WANTED, FIRST)
    saved["song"][3][1] += 1
    with pytest.raises(KitError, match="are not contiguous"):
        check_ranges(saved, WANTED)


def test_a_model_without_decoders_has_no_ranges_and_no_streams() -> None:
    assert allot({}, 100) == {}
    check_ranges({}, {})
    assert sizes_of({"m": {}}) == {}
    check_parallel({}, {"m": {}})
    with pytest.raises(KitError, match=r"made with parallel ids of none .* of 'm', which asks for \[\['x', 3\]\]"):
        check_parallel({}, {"m": {"x": ParallelStream(size=3, on=("a",))}})
