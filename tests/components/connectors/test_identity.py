"""Features as they are."""

from __future__ import annotations

import pytest

from tests.components.connectors.building import spec_of
from tinyllava_kit.errors import KitError
from tinyllava_kit.plugin.specs import load


def test_identity_refuses_another_width():
    with pytest.raises(KitError, match="a tower of 7 and an LLM of 11; choose 'linear'"):
        load(spec_of("identity"))(in_dim=7, out_dim=11)
