"""Swatches: what is read and written, and the contracts of the modality and its decoder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "src"))

from tinyllava_kit_swatch.contract import SwatchContract, SwatchRowsContract, some_swatches
from tinyllava_kit_swatch.decoder import SwatchDecoder
from tinyllava_kit_swatch.swatches import COLOURS, SIDE, SwatchModality

from tinyllava_kit import KitError


class TestSwatch(SwatchContract):
    component = SwatchModality


class TestSwatchRows(SwatchRowsContract):
    component = SwatchDecoder


def test_a_swatch_that_is_written_is_read_again(tmp_path: Path) -> None:
    for swatch in some_swatches(2):
        SwatchModality().write(swatch, str(tmp_path / "a.txt"))
        assert torch.equal(SwatchModality().read(tmp_path / "a.txt"), swatch)


@pytest.mark.parametrize("wrong", [[[1, 2]], [[9] * 4] * 4, "none.txt", [["a"]]])
def test_what_is_no_swatch_is_refused(wrong: object) -> None:
    with pytest.raises(KitError, match=r"^(swatch|none\.txt): "):
        SwatchModality().read(wrong)


def test_there_is_a_range_for_each_row_and_not_for_each_colour() -> None:
    decoder = SwatchDecoder({})
    assert len(decoder.ranges) == SIDE
    (ids,) = {tuple(map(tuple, decoder.encode(some_swatches(1)[0]).tolist()))}
    assert [row[0] // COLOURS for row in ids] == list(range(SIDE))
