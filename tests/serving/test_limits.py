"""Limits: the defaults with what is given in their place."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tinyllava_kit import KitError
from tinyllava_kit.serving.limits import Limits


def test_what_is_given_takes_the_place_of_its_default_alone():
    made = Limits.of({"items": "7", "seconds": 2.5})
    assert made.model_dump() == {**Limits().model_dump(), "items": 7, "seconds": 2.5}
    assert Limits.of({}) == Limits()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"item": 3}, "^no limit is called 'item'; did you mean 'items'"),
        ({"items": 0}, "^limit items: Input should be greater than or equal to 1, got 0$"),
        ({"items": 1 << 32}, "^limit items: Input should be less than or equal to 2147483648"),
        ({"items": "many"}, "^limit items: Input should be a valid integer.*, got 'many'$"),
        ({"seconds": 0}, "^limit seconds: Input should be greater than 0, got 0$"),
        ({"seconds": float("inf")}, "^limit seconds: Input should be"),
        ({"seconds": float("nan")}, "^limit seconds: Input should be"),
    ],
)
def test_what_is_no_limit_is_refused_by_its_name(given, message):
    with pytest.raises(KitError, match=message):
        Limits.of(given)


def test_limits_do_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        Limits().items = 3
