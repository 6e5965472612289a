"""MobileVLM V2's projector against a slow loop over squares and their neighbours."""

import pytest
import torch

from tinyllava_kit.components.connectors.ldp import LDPv2
from tinyllava_kit.core.interfaces import Features


def slow(connector, features, grid):
    """(P, E) of one item that fills `grid` -> its rows, square by square."""
    factor = connector.factor
    height, width = grid[0] // factor, grid[1] // factor
    per_patch = connector.layers(features).view(*grid, -1)  # (h, w, D)
    means = {
        (row, column): per_patch[row * factor :][:factor, column * factor :][:, :factor].flatten(0, 1).mean(0)
        for row in range(height)
        for column in range(width)
    }
    kernel, bias = connector.neighbours.weight[:, 0], connector.neighbours.bias  # (D, 3, 3), (D,)
    rows = []
    for (row, column), mean in means.items():
        around = bias.clone()
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                neighbour = means.get((row + down, column + right))
                if neighbour is not None:
                    around = around + kernel[:, down + 1, right + 1] * neighbour
        rows.append(mean + around)
    return torch.stack(rows)


@pytest.mark.parametrize(("grid", "factor"), [((4, 6), 2), ((3, 3), 3), ((2, 5), 1), ((4, 4), 2)])
@torch.no_grad()
def test_rows_are_those_of_the_slow_loop(grid, factor):
    connector = LDPv2(in_dim=5, out_dim=11, grid=grid, factor=factor)
    features = torch.randn(2, grid[0] * grid[1], 5)
    rows = connector(Features(features))
    for item, expected in zip(rows, features, strict=True):
        torch.testing.assert_close(item, slow(connector, expected, grid))


@torch.no_grad()
def test_an_item_that_fills_the_upper_part_has_the_rows_of_that_part_alone():
    connector = LDPv2(in_dim=5, out_dim=11, grid=(6, 4))
    features = torch.randn(2, 24, 5)
    rows = connector(Features(features, torch.tensor([24, 16])))
    torch.testing.assert_close(rows[1, :4], slow(connector, features[1, :16], (4, 4)))


def test_on_two_by_two_rows_each_knows_the_whole_picture():
    everything = list(range(16))
    assert LDPv2(in_dim=5, out_dim=11, grid=(4, 4)).sources(16) == [everything] * 4
