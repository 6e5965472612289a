"""One linear layer, against a slow loop."""

from __future__ import annotations

import torch

from tinyllava_kit.components.connectors.linear import Linear
from tinyllava_kit.core.interfaces import Features


def test_each_feature_is_mapped_by_itself():
    torch.manual_seed(0)
    connector = Linear(in_dim=5, out_dim=3)
    features = torch.randn(2, 7, 5)
    with torch.no_grad():
        rows = connector(Features(features))
        assert rows.shape == (2, 7, 3)
        for item, found in zip(features, rows, strict=True):
            for feature, row in zip(item, found, strict=True):
                expected = connector.linear.weight @ feature + connector.linear.bias
                torch.testing.assert_close(row, expected)
        assert connector(Features(features[:, :0])).shape == (2, 0, 3)


def test_the_factorys_names_are_taken():
    state = {"weight": torch.ones(3, 5), "bias": torch.zeros(3)}
    connector = Linear(in_dim=5, out_dim=3)
    connector.load_state_dict(Linear.from_factory_keys(state))
    assert torch.equal(connector.linear.weight, state["weight"])
