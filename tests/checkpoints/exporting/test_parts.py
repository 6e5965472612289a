"""What the targets ask of a model's parts."""

from __future__ import annotations

import pytest

from tinyllava_kit.checkpoints.exporting.requirements import is_two_layers_with_gelu
from tinyllava_kit.components.connectors.average_pool import AveragePoolMLP
from tinyllava_kit.components.connectors.mlp import MLP
from tinyllava_kit.components.connectors.pixel_shuffle import PixelShuffleMLP
from tinyllava_kit.components.connectors.stack import StackMLP

DIMS = {"in_dim": 6, "out_dim": 8}


def test_the_joint_of_llava_is_known():
    assert is_two_layers_with_gelu(MLP(**DIMS, depth=2))


@pytest.mark.parametrize(
    "connector",
    [
        MLP(**DIMS, depth=3),
        AveragePoolMLP(**DIMS),
        StackMLP(**DIMS),
        PixelShuffleMLP(**DIMS, grid=(4, 4)),
    ],
    ids=lambda connector: type(connector).__name__,
)
def test_two_layers_over_several_features_are_another_joint(connector):
    """Their layers may have the same types: a file of them would be read, and be wrong."""
    assert not is_two_layers_with_gelu(connector)
