"""The decoder: a row of colours at a position, and as many positions as there are rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tinyllava_kit import KitError
from tinyllava_kit.interfaces import BEGIN, END, ParallelStream, TokenDecoder

from .swatches import COLOURS, SIDE

ROWS = [f"row{number}" for number in range(SIDE)]


class SwatchDecoder(TokenDecoder):
    """A range for each row: what follows depends on the last range alone, so that ranges count."""

    @classmethod
    def read_config(cls, checkpoint: str) -> dict[str, Any]:
        if checkpoint:
            raise KitError(f"swatch_rows takes no checkpoint, got {checkpoint!r}")
        return {}

    @property
    def ranges(self) -> Mapping[str, int]:
        return dict.fromkeys(ROWS, COLOURS)

    @property
    def follows(self) -> Mapping[str, Sequence[str]]:
        return {BEGIN: (ROWS[0],), **{row: (after,) for row, after in zip(ROWS, [*ROWS[1:], END], strict=True)}}

    @property
    def parallel(self) -> Mapping[str, ParallelStream]:
        return {f"column{n}": ParallelStream(size=COLOURS, on=tuple(ROWS)) for n in range(1, SIDE)}

    def num_ids(self, item: Tensor) -> int:
        return SIDE

    def encode(self, item: Tensor) -> Tensor:
        return item + self._firsts()  # (SIDE, 1 + SIDE - 1)

    def decode(self, ids: Tensor) -> Tensor:
        return ids - self._firsts()

    def _firsts(self) -> Tensor:
        """Where the ids of a row's range begin, in the column of the main ids."""
        firsts = torch.zeros(SIDE, SIDE, dtype=torch.int64)
        firsts[:, 0] = COLOURS * torch.arange(SIDE)
        return firsts
