"""Windows of a long item go through a tower in parts, so that memory has a bound, and are joined behind one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tinyllava_kit.core.interfaces import Features, Preprocessor, Tower
from tinyllava_kit.model.windows import join_windows, run_windows


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


def test_windows_are_joined_as_by_a_slow_loop():
    features = torch.arange(1.0, 61).view(4, 5, 3)  # (rows, P, E)
    sizes = [[5, 5, 2], [3]]  # of each item, how many features of each of its windows are real
    rows, places, lengths = torch.zeros(2, 12, dtype=torch.int64), torch.zeros(2, 12, dtype=torch.int64), []
    expected = torch.zeros(2, 12, 3)
    window = 0
    for item, windows in enumerate(sizes):
        at = 0
        for size in windows:
            for place in range(size):
                rows[item, at], places[item, at] = window, place
                expected[item, at] = features[window, place]
                at += 1
            window += 1
        lengths.append(at)
    named = {"window_rows": rows, "window_features": places, "window_lengths": torch.tensor(lengths)}
    joined = join_windows(Features(features.half(), None, (1, 5)), named)
    assert torch.equal(joined.features, expected.half())
    assert joined.lengths.tolist() == [12, 3]
    assert joined.grid is None  # of windows, and not of what they make together
