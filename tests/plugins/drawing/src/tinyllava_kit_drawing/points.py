"""The decoder `points`: a point at a position, where to beside how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tinyllava_kit.interfaces import BEGIN, END, IdStream, ParallelStream

from .decoder import StrokeDecoder
from .strokes import Drawing


class PointDecoder(StrokeDecoder):
    """Whether the pen moves or draws; beside it, at the same position, how far right and how far down."""

    @property
    def ranges(self) -> Mapping[str, int]:
        return {"move": 1, "draw": 1}

    @property
    def follows(self) -> Mapping[str, Sequence[str]]:
        after = ("draw", "move", END)
        return {BEGIN: ("move",), "move": after, "draw": after}

    @property
    def parallel(self) -> Mapping[str, ParallelStream]:
        return dict.fromkeys(("x", "y"), ParallelStream(size=self.config["grid"], on=("move", "draw")))

    def num_ids(self, item: Drawing) -> int:
        return sum(map(len, item))

    def encode(self, item: Drawing) -> Tensor:
        ids = super().encode(item).reshape(-1, 3)  # (n, 1 + 2)
        return ids - self._firsts()

    def decode(self, ids: Tensor) -> Drawing:
        return super().decode(self.in_row(ids))

    def stream(self) -> IdStream:
        return _InRow(self, super().stream())

    def in_row(self, ids: Tensor) -> Tensor:
        """(n, 1 + 2) -> (3 n,), as `strokes` has them."""
        return (ids + self._firsts()).flatten()

    def _firsts(self) -> Tensor:
        return torch.tensor([0, 2, 2 + self.config["grid"]])


class _InRow(IdStream):
    def __init__(self, decoder: PointDecoder, stream: IdStream) -> None:
        self.decoder, self.rest = decoder, stream

    def push(self, ids: Tensor) -> Drawing | None:
        return self.rest.push(self.decoder.in_row(ids))

    def finish(self) -> Drawing | None:
        return self.rest.finish()
