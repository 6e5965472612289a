"""Plain content against types: nothing is converted, and each difference has its place."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from tinyllava_kit import KitError
from tinyllava_kit.files.content import Count, Divisor, Finite, Layers, Size, WholeNumber, arguments, checked, read_as


class Made:
    """What is made of a file."""

    def __init__(self, *, width: Count, depth: int = 2, grid: tuple[int, int] | None = None) -> None:
        raise NotImplementedError

    def of(self, first: int, /, name: str, **others: float) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        (int, 3, 3),
        (float, 3, 3.0),
        (WholeNumber, 3.0, 3),
        (Size, 0, 0),
        (Count, 2**31, 2**31),
        (tuple[int, int], [1, 2], (1, 2)),
        (dict[str, list[int]] | None, None, None),
        (Finite, -1e6, -1e6),
        (Divisor, 1e-6, 1e-6),
        (Any, {"a": [None]}, {"a": [None]}),
    ],
)
def test_content_of_its_type_is_taken(kind, value, found):
    got = checked(kind, value, "here")
    assert (got, type(got)) == (found, type(found))


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (int, "3", "^here: expected a valid integer, got '3'$"),
        (int, True, "^here: expected a valid integer, got True$"),
        (int, 3.5, "^here: expected a valid integer"),
        (str, 3, "^here: expected a valid string, got 3$"),
        (bool, 1, "^here: expected a valid boolean, got 1$"),
        (Count, 0, "^here: expected greater than or equal to 1, got 0$"),
        (Size, 2**31 + 1, "^here: expected less than or equal to 2147483648"),
        (Layers, 1001, "^here: expected less than or equal to 1000, got 1001$"),
        (Finite, 1e7, "^here: expected less than or equal to 1000000"),
        (Finite, float("nan"), "^here: expected a finite number"),
        (Divisor, 0, "^here: expected greater than or equal to"),
        (dict[str, list[int]], {"a": [1, "x"]}, r"^here\.a\.1: expected a valid integer, got 'x'$"),
        (list[int], {"a": 1}, "^here: expected a valid array"),
        (Any, {1, 2}, "^here: holds what JSON does not"),
        (str, "\u2028" + "x" * 99, None),
    ],
)
def test_another_type_is_refused_with_its_place(kind, value, message):
    if message is None:
        assert checked(kind, value, "here") == value
        return
    with pytest.raises(KitError, match=message):
        checked(kind, value, "here")


def test_what_holds_itself_is_refused():
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(KitError, match=r"^here: holds what JSON does not"):
        checked(list, endless, "here")


def test_a_long_value_is_cut_and_on_one_line():
    with pytest.raises(KitError) as caught:
        checked(int, "x\n" * 999, "here")
    assert len(str(caught.value)) < 150
    assert "\n" not in str(caught.value)


def test_arguments_are_checked_against_annotations():
    assert arguments(Made, {"width": 7, "grid": [1, 2]}, "here") == {"width": 7, "grid": (1, 2)}
    assert arguments(Made, {"depth": 3}, "here", given=("width",)) == {"depth": 3}
    assert arguments(Made.of, {"name": "a", "x": 0.5}, "here", given=("first",)) == {"name": "a", "x": 0.5}
    assert arguments(lambda a, b=2: None, {"a": "anything"}, "here") == {"a": "anything"}


@pytest.mark.parametrize(
    ("content", "given", "message"),
    [
        ([], (), "^here: expected"),
        ({}, (), r"^here\.width: is missing$"),
        ({"width": 0}, (), r"^here\.width: expected greater than or equal to 1, got 0$"),
        ({"width": 1, "grid": [1]}, (), r"^here\.grid"),
        ({"width": 1, "dept": 1}, (), "^here: unknown key 'dept'; did you mean 'depth'"),
        ({"width": 1}, ("width",), "^here: unknown key 'width'"),
    ],
)
def test_arguments_that_do_not_fit_are_named(content, given, message):
    with pytest.raises(KitError, match=message):
        arguments(Made, content, "here", given=given)


class Record(BaseModel):
    """Of a program of ours."""

    steps: int
    names: list[str] = []


def test_a_file_of_ours_is_read_as_its_type(tmp_path):
    (tmp_path / "a.json").write_text('{"steps": 3, "names": ["a"]}')
    assert read_as(Record, tmp_path / "a.json", "make it anew") == Record(steps=3, names=["a"])
    assert read_as(dict[str, Any], tmp_path / "a.json", "make it anew") == {"steps": 3, "names": ["a"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"steps": "3"}', r"a\.json\.steps: expected a valid integer, got '3'; make it anew$"),
        ('{"names": []}', r"a\.json\.steps: is missing; make it anew$"),
        ('{"steps": 3', r"a\.json: not JSON: .*; make it anew$"),
        ("", r"a\.json: not JSON: .*; make it anew$"),
        (None, r"cannot read '.*a\.json': No such file or directory; make it anew$"),
    ],
)
def test_a_damaged_file_of_ours_says_what_to_do(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(KitError, match=message):
        read_as(Record, tmp_path / "a.json", "make it anew")
