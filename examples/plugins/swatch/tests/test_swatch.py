"""Swatches: what is read and written, and the contract of the decoder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.append(str(Path(__file__).parents[1] / "src"))

from tinyllava_kit_swatch.decoder import SwatchDecoder
from tinyllava_kit_swatch.swatches import COLOURS, SIDE, SwatchModality

from tinyllava_kit import KitError
from tinyllava_kit.testing import TokenDecoderContract


def swatches(count: int = 6) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randint(0, COLOURS, (SIDE, SIDE), generator=draw) for _ in range(count)]


class TestSwatchRows(TokenDecoderContract):
    component = SwatchDecoder
    modality_class = SwatchModality

    def items(self) -> Sequence[Tensor]:
        return swatches()

    def known_ids(self) -> Sequence[tuple[Tensor, Sequence[Sequence[int]]]]:
        swatch = torch.tensor([[7, 0, 1, 2], [0, 3, 4, 5], [6, 7, 0, 1], [1, 2, 3, 4]])
        return [(swatch, [[7, 0, 1, 2], [8, 3, 4, 5], [22, 7, 0, 1], [25, 2, 3, 4]])]


def test_a_swatch_that_is_written_is_read_again(tmp_path: Path) -> None:
    for swatch in swatches(2):
        SwatchModality().write(swatch, str(tmp_path / "a.txt"))
        assert torch.equal(SwatchModality().read(tmp_path / "a.txt"), swatch)


@pytest.mark.parametrize("wrong", [[[1, 2]], [[9] * 4] * 4, "none.txt", [["a"]]])
def test_what_is_no_swatch_is_refused(wrong: object) -> None:
    with pytest.raises(KitError, match=r"^(swatch|none\.txt): "):
        SwatchModality().read(wrong)


def test_there_is_a_range_for_each_row_and_not_for_each_colour() -> None:
    decoder = SwatchDecoder({})
    assert len(decoder.ranges) == SIDE
    (ids,) = {tuple(map(tuple, decoder.encode(swatches(1)[0]).tolist()))}
    assert [row[0] // COLOURS for row in ids] == list(range(SIDE))
