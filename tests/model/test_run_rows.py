"""Rows of a long item go through a tower in parts, so that memory has a bound; nothing else changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tinyllava_kit.core.interfaces import Features, Preprocessor, Tower
from tinyllava_kit.model.windows import run_windows


class Doubling(Tower):
    """Remembers how many rows each call had."""

    def __init__(self, at_once: int | None, ragged: bool = True) -> None:
        super().__init__({})
        self.at_once, self.ragged, self.calls = at_once, ragged, []
        self.weight = nn.Parameter(torch.tensor(2.0))

    embed_dim = 3

    @classmethod
    def read_config(cls, checkpoint: str, **options: Any) -> dict[str, Any]:
        raise NotImplementedError

    @classmethod
    def read_preprocessor(cls, checkpoint: str, config: Mapping[str, Any]) -> Preprocessor:
        raise NotImplementedError

    def load_weights(self, checkpoint: str) -> None:
        raise NotImplementedError

    def rows_at_once(self, inputs: Mapping[str, Tensor]) -> int:
        return super().rows_at_once(inputs) if self.at_once is None else self.at_once

    def forward(self, values: Tensor, lengths: Tensor) -> Features:
        self.calls.append(len(values))
        return Features(values * self.weight, lengths if self.ragged else None, (1, 5))


def inputs() -> dict[str, Tensor]:
    return {"values": torch.randn(7, 5, 3), "lengths": torch.tensor([5, 1, 2, 5, 4, 3, 5])}


@pytest.mark.parametrize("ragged", [True, False])
@pytest.mark.parametrize(("at_once", "calls"), [(None, [7]), (3, [3, 3, 1]), (1, [1] * 7), (7, [7]), (50, [7])])
def test_the_parts_are_what_the_tower_asks_for_and_together_the_whole(at_once, calls, ragged):
    tower, rows = Doubling(at_once, ragged), inputs()
    with torch.no_grad():
        got = run_windows(tower, rows)
    assert tower.calls == calls
    assert torch.equal(got.features, rows["values"] * 2)
    assert torch.equal(got.lengths, rows["lengths"]) if ragged else got.lengths is None
    assert got.grid == (1, 5)


def test_where_a_graph_is_built_all_rows_are_run_at_once():
    tower = Doubling(2)
    run_windows(tower, inputs()).features.sum().backward()
    assert tower.calls == [7]
    assert tower.weight.grad is not None


def test_in_a_distributed_run_every_rank_calls_a_tower_once(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    tower = Doubling(2)
    with torch.no_grad():
        run_windows(tower, inputs())
    assert tower.calls == [7]
