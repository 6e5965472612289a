"""The contracts of the modality and its decoder: what `pytest --tinyllava-conformance` runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from tinyllava_kit.interfaces import Modality
from tinyllava_kit.testing import ModalityContract, TokenDecoderContract

from .swatches import COLOURS, SIDE, SwatchModality


class SwatchContract(ModalityContract):
    """Files and lists; all are of one size."""

    def sources(self, folder: Path) -> Sequence[Any]:
        """Two files, a tensor and a list."""
        swatches = some_swatches(4)
        for number, swatch in enumerate(swatches[:2]):
            (folder / f"{number}.txt").write_text(_text(swatch))
        return [str(folder / "0.txt"), str(folder / "1.txt"), swatches[2], swatches[3].tolist()]

    def equal_sources(self, folder: Path) -> Sequence[tuple[Any, Any]]:
        """A file, a tensor and a list of the same colours."""
        swatch = some_swatches(1)[0]
        (folder / "equal.txt").write_text(_text(swatch))
        return [(swatch, str(folder / "equal.txt")), (swatch, swatch.tolist())]

    def bad_sources(self, folder: Path) -> Mapping[str, Any]:
        """What is no swatch."""
        return {"three rows": [[1] * SIDE] * (SIDE - 1), "a colour too many": [[COLOURS] * SIDE] * SIDE, "no rows": []}

    def expected_measure(self, item: Tensor) -> float:
        """Each is one."""
        return 1.0


class SwatchRowsContract(TokenDecoderContract):
    """Ids by hand."""

    modality_class: ClassVar[type[Modality]] = SwatchModality

    def items(self) -> Sequence[Tensor]:
        """Colours by chance."""
        return some_swatches(6)

    def known_ids(self) -> Sequence[tuple[Tensor, Sequence[Sequence[int]]]]:
        """A row at a position: its first colour in the range of the row, the others beside it."""
        swatch = torch.tensor([[7, 0, 1, 2], [0, 3, 4, 5], [6, 7, 0, 1], [1, 2, 3, 4]])
        return [(swatch, [[7, 0, 1, 2], [8, 3, 4, 5], [22, 7, 0, 1], [25, 2, 3, 4]])]


def some_swatches(count: int) -> list[Tensor]:
    """Colours by chance, the same each time."""
    draw = torch.Generator().manual_seed(0)
    return [torch.randint(0, COLOURS, (SIDE, SIDE), generator=draw) for _ in range(count)]


def _text(swatch: Tensor) -> str:
    return "".join("".join(map(str, row)) + "\n" for row in swatch.tolist())
