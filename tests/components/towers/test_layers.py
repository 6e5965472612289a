"""Layers as a user writes them."""

from __future__ import annotations

import pytest

from tinyllava_kit import KitError
from tinyllava_kit.components.towers.layers import parse_layer


@pytest.mark.parametrize(
    ("layer", "parsed"),
    [("last", "last"), ("mix", "mix"), ("-1", "last"), (-1, "last"), ("3", 3), (0, 0), ("-4", 0), ("-2", 2), (3, 3)],
)
def test_a_layer_is_a_name_or_a_number_from_either_end(layer, parsed) -> None:
    assert parse_layer(layer, 3, "x", ("last", "mix")) == parsed


@pytest.mark.parametrize("layer", ["4", "-5", "mix", "", "1.5"])
def test_another_is_refused(layer: str) -> None:
    with pytest.raises(
        KitError, match=rf"^'x' has 3 layers, layer '{layer}' is not there; expected last or .* -4 to 3"
    ):
        parse_layer(layer, 3, "x")
