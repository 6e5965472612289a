"""The ends of messages: names that are near, and values on one line."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import pytest

from tinyllava_kit import errors
from tinyllava_kit.errors import KitError, PluginError, near, shown


def test_the_examples_are_right() -> None:
    assert doctest.testmod(errors).failed == 0


@pytest.mark.parametrize(
    ("name", "known", "advice"),
    [
        ("mlp2x_gellu", ["mlp2x_gelu", "linear"], "did you mean 'mlp2x_gelu'?"),
        ("towr", ["tower", "towel", "far"], "did you mean 'tower' or 'towel'?"),
        ("x", ["b", "a", "b"], "known: a, b"),
        ("x", [], "none is installed"),
        ("a", iter(["a1", "b1"]), "did you mean 'a1'?"),
    ],
)
def test_the_near_names_or_all_that_are_known(name: str, known: Any, advice: str) -> None:
    assert near(name, known) == advice


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb", r"'a\nb'"),
        (Path("a") / "b", "'a/b'"),
        (7, "7"),
        (b"x" * 999, "<999 bytes>"),
        ([1, 2, 3, 4, 5], "[1, 2, 3, 4, ...]"),
        ({"a": [b"x" * 999] * 99}, "{'a': [<999 bytes>, <999 bytes>, <999 bytes>, <999 bytes>, ...]}"),
        ([[[[7]]]], "[[[[...]]]]"),
    ],
)
def test_a_value_is_shown_on_one_line(value: Any, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize("value", ["x" * 9999, Path("x" * 9999), object(), 10**999, ["x" * 999] * 999])
def test_no_value_is_longer_than_a_few_lines(value: Any) -> None:
    assert len(shown(value)) <= 1000
    assert "\n" not in shown(value)


def test_a_mistake_in_a_plugin_says_what_to_change() -> None:
    error = PluginError("it is wrong", "mend it")
    assert (str(error), error.fix, isinstance(error, KitError)) == ("it is wrong", "mend it", True)
