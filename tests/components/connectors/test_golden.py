"""Our connectors against the numbers of TinyLLaVA_Factory's, same weights and features."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tinyllava_kit.components.connectors.identity import Identity
from tinyllava_kit.components.connectors.linear import Linear
from tinyllava_kit.components.connectors.mlp import MLP
from tinyllava_kit.components.connectors.qformer import QFormer
from tinyllava_kit.components.connectors.resampler import Resampler
from tinyllava_kit.core.interfaces import Features

GOLDEN = Path(__file__).parents[2] / "golden" / "connectors"
PREFIX = "connector._connector."
CASES = {
    "identity": (Identity, {}),
    "linear": (Linear, {}),
    "mlp2x_gelu": (MLP, {"depth": 2}),
    "resampler": (Resampler, {"num_queries": 3, "num_layers": 2}),
    "qformer": (QFormer, {"num_queries": 3, "num_layers": 4, "hidden_dim": 48, "num_heads": 4, "mlp_dim": 96}),
}


def loaded(name):
    """The connector with the golden weights, the golden features and what they became."""
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    cls, options = CASES[name]
    connector = cls(in_dim=tensors["features"].shape[-1], out_dim=64, **options).eval()
    state = {key.removeprefix(PREFIX): value for key, value in tensors.items() if key.startswith(PREFIX)}
    connector.load_state_dict(getattr(cls, "from_factory_keys", dict)(state), strict=True)
    return connector, tensors["features"], tensors["image_features"]


@pytest.mark.parametrize("name", CASES)
def test_connector_gives_the_numbers_of_the_factory(name):
    connector, features, expected = loaded(name)
    with torch.no_grad():
        found = connector(Features(features))
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize("name", CASES)
def test_rows_past_the_length_change_nothing_in_the_golden_numbers(name):
    connector, features, expected = loaded(name)
    padded = torch.cat([features, torch.full((2, 3, features.shape[-1]), 7.0)], dim=1)
    with torch.no_grad():
        found = connector(Features(padded, lengths=torch.tensor([4, 4])))
    assert (found[:, : expected.shape[1]] - expected).abs().max() < 1e-5
