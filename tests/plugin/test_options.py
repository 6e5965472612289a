"""Options: what they refuse, and how texts become their values."""

from __future__ import annotations

from typing import Any

import pytest

from tinyllava_kit.errors import KitError
from tinyllava_kit.plugin.options import Option, article, is_a
from tinyllava_kit.plugin.specs import ScorerSpec


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": list}, "option 'size': type must be str, int, float or bool, got list"),
        ({"type": "int"}, "type must be str, int, float or bool, got 'int'"),
        ({"type": int, "default": "x"}, "option 'size': default must be an int or None, got 'x'"),
        ({"type": int, "default": True}, "default must be an int or None, got True"),
        ({"type": int, "default": 2.5}, "default must be an int or None, got 2.5"),
        ({"type": bool, "default": 1}, "default must be a bool or None, got 1"),
        ({"default": 7}, "default must be a str or None, got 7"),
        ({"choices": "ab"}, r"option 'size': choices must be a tuple, got 'ab' alone; write choices=\('ab',\)"),
        ({"choices": 7}, "choices must be a tuple, got 7"),
        ({"type": int, "choices": ("1", "2")}, "choices must hold int values, got '1'"),
        ({"default": "c", "choices": ("a", "b")}, "default 'c' is not among its choices"),
        ({"required": True, "default": "a"}, "is required and has the default 'a'; take one of them out"),
        ({"at_least": 1}, "option 'size': is a str and cannot be at least 1"),
        ({"type": int, "at_most": 3, "default": 4}, "default 4 is not at most 3"),
        ({"name": "two words"}, "an option's name must be that of a keyword argument, got 'two words'"),
        ({"name": 7}, "an option's name must be"),
    ],
)
def test_an_option_that_cannot_work_is_refused_where_it_is_made(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Option(**({"name": "size"} | fields))


def test_an_option_takes_whole_numbers_as_floats_and_choices_of_its_type() -> None:
    assert Option(name="o", type=float, default=1).parse("2", "here") == 2.0
    numbers = Option(name="o", type=int, default=2, choices=(1, 2))
    assert numbers.parse("1", "here") == 1
    with pytest.raises(KitError, match="option 'o' got 7; known: 1, 2"):
        numbers.parse(7, "here")


@pytest.mark.parametrize(
    ("option", "given", "read"),
    [
        (Option(name="o", type=int), "17", 17),
        (Option(name="o", type=int), 3.0, 3),
        (Option(name="o", type=float), "1e-3", 1e-3),
        (Option(name="o", type=float), 2, 2.0),
        (Option(name="o", type=bool), "False", False),
        (Option(name="o", type=bool), True, True),
        (Option(name="o"), 5, "5"),
        (Option(name="o", type=int, default=None), "None", None),
        (Option(name="o", type=int, default=None), None, None),
        (Option(name="o", default="a", choices=("a", "b")), "b", "b"),
    ],
)
def test_an_option_is_read_as_its_type(option: Option, given: object, read: object) -> None:
    parsed = option.parse(given, "here")
    assert parsed == read
    assert type(parsed) is type(read)


@pytest.mark.parametrize(
    ("option", "given", "message"),
    [
        (Option(name="o", type=int), "3.5", "here: option 'o' needs int, got '3.5'"),
        (Option(name="o", type=int), 3.5, "needs int, got 3.5"),
        (Option(name="o", type=int), float("inf"), "needs int, got inf"),
        (Option(name="o", type=int), True, "needs int, got True"),
        (Option(name="o", type=int, default=2), None, "needs int, got None"),
        (Option(name="o", type=bool, default=False), "yes", "needs bool, got 'yes'"),
        (Option(name="o", default="a"), ["a"], r"needs str, got \['a'\]"),
        (Option(name="o", default="square", choices=("square", "pad")), "squar", "did you mean 'square'"),
    ],
)
def test_an_option_refuses_what_is_not_its_type(option: Option, given: object, message: str) -> None:
    with pytest.raises(KitError, match=message):
        option.parse(given, "here")


def test_a_number_keeps_its_bounds_and_a_required_option_is_given() -> None:
    share = Option(name="share", type=float, default=1.0, above=0, at_most=1)
    assert share.bounds == "more than 0 and at most 1"
    assert share.parse("1", "here") == 1.0
    for wrong in (0, 1.5, -1):
        with pytest.raises(KitError, match="here: option 'share' must be more than 0 and at most 1, got"):
            share.parse(wrong, "here")
    spec = ScorerSpec(name="x", target="a:b", options=(share, Option(name="of", required=True)))
    with pytest.raises(KitError, match="here: scorer 'x' needs its option 'of'"):
        spec.check_options({}, "here")
    assert spec.check_options({"of": "a"}, "here") == {"share": 1.0, "of": "a"}


@pytest.mark.parametrize(
    ("value", "types"),
    [(True, {bool}), (3, {int, float}), (3.5, {float}), ("3", {str}), (None, set()), ([3], set())],
)
def test_a_whole_number_is_a_float_and_truth_is_no_number(value: object, types: set[type]) -> None:
    assert {each for each in (bool, int, float, str) if is_a(value, each)} == types
    assert [article(each) for each in (int, str)] == ["an int", "a str"]


def test_bounds_are_said_and_kept_at_both_ends() -> None:
    option = Option(name="o", type=int, at_least=2, at_most=5)
    assert option.bounds == "at least 2 and at most 5"
    assert [option.parse(each, "here") for each in (2, "5")] == [2, 5]
    for each in (1, 6):
        with pytest.raises(KitError, match=f"here: option 'o' must be at least 2 and at most 5, got {each}"):
            option.parse(each, "here")
    with pytest.raises(KitError, match="must be more than 0, got nan"):
        Option(name="o", type=float, above=0).parse(float("nan"), "here")
    assert Option(name="o").bounds == ""
