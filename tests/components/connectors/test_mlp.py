"""Linear layers with GELU between, against a slow loop."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tinyllava_kit.components.connectors.mlp import MLP
from tinyllava_kit.core.interfaces import Features


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_each_feature_goes_through_every_layer_by_itself(depth):
    torch.manual_seed(0)
    connector = MLP(in_dim=5, out_dim=3, depth=depth)
    weights = dict(connector.named_parameters())
    features = torch.randn(2, 7, 5)
    with torch.no_grad():
        rows = connector(Features(features))
    assert rows.shape == (2, 7, 3)
    assert len(weights) == 2 * depth
    for item, found in zip(features, rows, strict=True):
        for feature, row in zip(item, found, strict=True):
            for number in range(depth):
                feature = F.gelu(feature) if number else feature
                feature = weights[f"layers.{2 * number}.weight"] @ feature + weights[f"layers.{2 * number}.bias"]
            torch.testing.assert_close(row, feature)


def test_the_factorys_names_are_taken():
    connector, other = MLP(in_dim=5, out_dim=3), MLP(in_dim=5, out_dim=3)
    state = {name.removeprefix("layers."): value for name, value in other.state_dict().items()}
    connector.load_state_dict(MLP.from_factory_keys(state))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in connector.state_dict().items())
