"""The perceiver's learned rows."""

from __future__ import annotations

import pytest

from tests.components.connectors.building import spec_of
from tinyllava_kit.errors import KitError
from tinyllava_kit.plugin.specs import load


@pytest.mark.parametrize("options", [{"num_queries": 0}, {"num_layers": 0}])
def test_resampler_refuses_to_have_nothing(options):
    with pytest.raises(KitError, match="num_queries and num_layers of 1 or more, got"):
        load(spec_of("resampler"))(in_dim=7, out_dim=11, **options)
