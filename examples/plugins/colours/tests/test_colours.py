"""The contracts of the tower and the scorer, and the scorer on answers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "src"))

from tinyllava_kit_colours.contract import ColourNamesContract
from tinyllava_kit_colours.scorer import ColourNames
from tinyllava_kit_colours.tower import ColourGridTower

from tinyllava_kit.evaluation import Judged
from tinyllava_kit.testing import TowerContract


class TestColourGrid(TowerContract):
    component = ColourGridTower
    options = {"cells": 3}  # noqa: RUF012

    def items(self) -> Sequence[Image.Image]:
        return [Image.new("RGB", (9 + n, 12), (80 * n, 20, 200)) for n in range(3)]


class TestColourNames(ColourNamesContract):
    component = ColourNames


def test_an_answer_is_right_where_it_names_the_colours_of_the_truth() -> None:
    rows = [("red", "It is RED."), ("red", "red or blue"), ("gray", "a grey cat"), ("blue", "a sky")]
    judged = [Judged(str(n), "?", (truth,), said) for n, (truth, said) in enumerate(rows)]
    assert ColourNames("colour_names").score(judged)["colours"].value == 0.5
