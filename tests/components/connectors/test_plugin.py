"""The connectors that the kit offers, by the names that a user writes."""

from __future__ import annotations

import pytest
import torch

from tests.components.connectors.building import build
from tinyllava_kit.components.connectors.plugin import tinyllava_connectors


@pytest.mark.parametrize(("name", "depth"), [("mlp1x_gelu", 1), ("mlp2x_gelu", 2), ("mlp12x_gelu", 12)])
def test_the_name_of_an_mlp_says_how_many_linear_layers_it_has(name, depth):
    assert sum(isinstance(module, torch.nn.Linear) for module in build(name).modules()) == depth


@pytest.mark.parametrize("name", ["mlp0x_gelu", "mlpx_gelu", "mlp2x_relu", "mlp2x_gelu_x"])
def test_no_other_name_means_an_mlp(name):
    assert not any(spec.matches(name) for spec in tinyllava_connectors())
