"""Pixel shuffle against a slow loop, and what it refuses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllava_kit.components.connectors.pixel_shuffle import PixelShuffleMLP, fold
from tinyllava_kit.core.interfaces import Features
from tinyllava_kit.errors import KitError


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


def test_rows_are_normalised_before_the_layers():
    connector = PixelShuffleMLP(in_dim=5, out_dim=11, grid=(2, 4))
    features = torch.randn(3, 8, 5)
    torch.testing.assert_close(connector(Features(1000 * features)), connector(Features(features)), atol=1e-3, rtol=0)


def test_no_raster_is_refused():
    with pytest.raises(KitError, match="features lie on a raster; for a sequence choose 'stack_mlp'"):
        PixelShuffleMLP(in_dim=5, out_dim=11)


def test_a_raster_that_does_not_fold_is_refused_with_the_factors_that_do():
    with pytest.raises(KitError, match="27 x 9 features does not fold by factor 2; factors that do: 1, 3, 9"):
        PixelShuffleMLP(in_dim=5, out_dim=11, grid=(27, 9))


def test_a_factor_of_nothing_is_refused():
    with pytest.raises(KitError, match="factor must be 1 or more, got 0"):
        PixelShuffleMLP(in_dim=5, out_dim=11, grid=(4, 6), factor=0)


def test_a_count_that_is_no_whole_square_is_refused():
    with pytest.raises(KitError, match="2 x 2 features to one row; 25 do not fold"):
        PixelShuffleMLP(in_dim=5, out_dim=11, grid=(4, 6)).num_tokens(25)


def test_features_that_are_not_the_raster_are_refused():
    connector = PixelShuffleMLP(in_dim=5, out_dim=11, grid=(4, 6))
    with pytest.raises(KitError, match="expected 4 x 6 features, got 28"):
        connector(Features(torch.randn(2, 28, 5)))
    with pytest.raises(KitError, match="3 x 8 features does not fold by factor 2; factors that do: 1"):
        connector(Features(torch.randn(2, 24, 5), grid=(3, 8)))
