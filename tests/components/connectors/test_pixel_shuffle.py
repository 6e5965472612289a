"""Pixel shuffle: what it normalises. Folding and refusals are in `test_raster.py`."""

import torch

from tinyllava_kit.components.connectors.pixel_shuffle import PixelShuffleMLP
from tinyllava_kit.core.interfaces import Features


def test_rows_are_normalised_before_the_layers():
    connector = PixelShuffleMLP(in_dim=5, out_dim=11, grid=(2, 4))
    features = torch.randn(3, 8, 5)
    torch.testing.assert_close(connector(Features(1000 * features)), connector(Features(features)), atol=1e-3, rtol=0)
