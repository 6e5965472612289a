"""The decoder `strokes`: three ids a point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tinyllava_kit import KitError
from tinyllava_kit.interfaces import BEGIN, END, IdStream, TokenDecoder

from .strokes import Drawing, DrawingModality


class StrokeDecoder(TokenDecoder):
    """Whether the pen moves or draws, then where to, on a grid of places."""

    @classmethod
    def read_config(cls, checkpoint: str, *, grid: int = 16) -> dict[str, Any]:
        """
        Raises:
            KitError: a checkpoint, which it does not take, or a grid of less than two places.
        """
        if checkpoint:
            raise KitError(f"strokes takes no checkpoint, got {checkpoint!r}")
        if grid < 2:
            raise KitError(f"grid must be at least 2, got {grid}")
        return {"grid": grid}

    @property
    def ranges(self) -> Mapping[str, int]:
        return {"move": 1, "draw": 1, "x": self.config["grid"], "y": self.config["grid"]}

    @property
    def follows(self) -> Mapping[str, Sequence[str]]:
        return {BEGIN: ("move",), "move": ("x",), "draw": ("x",), "x": ("y",), "y": ("draw", "move", END)}

    def num_ids(self, item: Drawing) -> int:
        return 3 * sum(map(len, item))

    def encode(self, item: Drawing) -> Tensor:
        steps = self.config["grid"] - 1
        ids: list[int] = []
        for stroke in item:
            for number, (x, y) in enumerate(stroke):
                ids += [min(number, 1), 2 + round(x * steps), 2 + self.config["grid"] + round(y * steps)]
        return torch.tensor(ids)  # (n,)

    def decode(self, ids: Tensor) -> Drawing:
        piece = _Points(self.config["grid"]).push(ids)
        return DrawingModality().join([piece])

    def stream(self) -> IdStream:
        return _Points(self.config["grid"])


class _Points(IdStream):
    """Every whole point as it comes."""

    def __init__(self, grid: int) -> None:
        self.grid, self.rest = grid, []

    def push(self, ids: Tensor) -> Drawing | None:
        self.rest += ids.tolist()
        piece: Drawing = []
        while len(self.rest) >= 3:
            (draws, x, y), self.rest = self.rest[:3], self.rest[3:]
            point = ((x - 2) / (self.grid - 1), (y - 2 - self.grid) / (self.grid - 1))
            if not draws:
                piece.append([point])
            elif piece:
                piece[-1].append(point)
            else:
                piece += [[], [point]]
        return piece or None

    def finish(self) -> None:
        return None
