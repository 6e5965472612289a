"""What the targets ask of a model's parts."""

from __future__ import annotations

import pytest
import torch

from tests.golden_models import GOLDEN
from tinyllava_kit import load_pretrained
from tinyllava_kit.checkpoints.exporting.requirements import is_close, is_two_layers_with_gelu, largest
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


CLIP = "tinyllama_clip_mlp2x_gelu"


def golden(case, **how):
    model, processor = load_pretrained(GOLDEN / case, **how)
    return model.eval(), processor


def test_the_approximate_gelu_is_another_connector():
    model, _ = golden(CLIP)
    assert is_two_layers_with_gelu(model.connectors["image"])
    model.connectors["image"].layers[1] = torch.nn.GELU(approximate="tanh")
    assert not is_two_layers_with_gelu(model.connectors["image"])


def test_a_difference_is_one_of_rounding_or_not():
    ours = torch.tensor([100.0, -3.0])
    assert is_close(1e-4, ours)
    assert not is_close(2e-4, ours)
    assert is_close(4.0, ours.to(torch.bfloat16))
    assert not is_close(6.0, ours.to(torch.bfloat16))
    assert largest(ours, ours + torch.tensor([0.0, 0.5])) == 0.5
    assert largest(ours, ours[:1]) == float("inf")
    assert largest(ours, ours * float("nan")) == float("inf")
    assert largest(torch.zeros(0), torch.zeros(0)) == 0
