"""BLIP-2's Q-Former."""

from __future__ import annotations

import pytest
import torch

from tests.components.connectors.building import SMALL, build, spec_of
from tinyllava_kit.core.interfaces import Features
from tinyllava_kit.errors import KitError
from tinyllava_kit.plugin.specs import load


def test_qformer_masks_padding_in_eager_attention_too():
    connector = build("qformer")
    features = Features(torch.randn(2, 24, 7), torch.tensor([24, 12]))
    with torch.no_grad():
        expected = connector(features)
        connector.qformer.set_attn_implementation("eager")
        torch.testing.assert_close(connector(features), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("options", [{"num_queries": 0}, {"num_layers": 0}, {"hidden_dim": 10, "num_heads": 3}])
def test_qformer_refuses_sizes_that_cannot_be(options):
    with pytest.raises(KitError, match="hidden_dim that num_heads divides, got"):
        load(spec_of("qformer"))(in_dim=7, out_dim=11, **{**SMALL["qformer"], **options})
