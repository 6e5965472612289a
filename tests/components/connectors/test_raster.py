"""Connectors for rasters: what they refuse, alike, and the folding against a slow loop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllava_kit.components.connectors.ldp import LDPv2
from tinyllava_kit.components.connectors.pixel_shuffle import PixelShuffleMLP
from tinyllava_kit.components.connectors.raster import fold
from tinyllava_kit.core.interfaces import Features
from tinyllava_kit.errors import KitError

of_each = pytest.mark.parametrize("connector", [PixelShuffleMLP, LDPv2])


def slow_fold(features, grid, factor):
    """Square by square, patch by patch."""
    items = []
    for item in features:
        squares = []
        for top in range(0, grid[0], factor):
            for left in range(0, grid[1], factor):
                patches = [
                    item[row * grid[1] + column]
                    for row in range(top, top + factor)
                    for column in range(left, left + factor)
                ]
                squares.append(torch.cat(patches))
        items.append(torch.stack(squares))
    return torch.stack(items)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 5))
def test_fold_equals_the_slow_loop(num_items, factor, height, width, in_dim):
    grid = (factor * height, factor * width)
    features = torch.randn(num_items, grid[0] * grid[1], in_dim)
    assert torch.equal(fold(features, grid, factor), slow_fold(features, grid, factor))


@of_each
def test_no_raster_is_refused(connector):
    with pytest.raises(KitError, match=f"^{connector.name} .* lie on a raster; for a sequence choose 'stack_mlp'"):
        connector(in_dim=5, out_dim=11)


@of_each
def test_a_raster_that_does_not_fold_is_refused_with_the_factors_that_do(connector):
    with pytest.raises(KitError, match=f"^{connector.name}: .*27 x 9 .* by factor 2; factors that do: 1, 3, 9"):
        connector(in_dim=5, out_dim=11, grid=(27, 9))


@of_each
def test_a_factor_of_nothing_is_refused(connector):
    with pytest.raises(KitError, match=f"^{connector.name}: factor must be 1 or more, got 0"):
        connector(in_dim=5, out_dim=11, grid=(4, 6), factor=0)


@of_each
def test_a_count_that_is_no_whole_square_is_refused(connector):
    with pytest.raises(KitError, match=f"^{connector.name} folds 2 x 2 features to one row; 25 do not fold"):
        connector(in_dim=5, out_dim=11, grid=(4, 6)).num_tokens(25)


@of_each
def test_features_that_are_not_the_raster_are_refused(connector):
    built = connector(in_dim=5, out_dim=11, grid=(4, 6))
    with pytest.raises(KitError, match=f"^{connector.name} expected 4 x 6 features, got 28"):
        built(Features(torch.randn(2, 28, 5)))
    with pytest.raises(KitError, match=f"^{connector.name}: .*3 x 8 .* by factor 2; factors that do: 1"):
        built(Features(torch.randn(2, 24, 5), grid=(3, 8)))
