"""Discovery of one distribution alone."""

from __future__ import annotations

import pytest

from tests.fakes import FakeSite
from tinyllava_kit import KitError
from tinyllava_kit.plugin.discovery import discover
from tinyllava_kit.testing import only_this_plugin


def test_discovery_of_one_distribution_leaves_the_others_out(site: FakeSite) -> None:
    for name in ("one", "two"):
        site.plugin(
            name, f"@hookimpl\ndef tinyllava_commands():\n    return [CommandSpec(name={name!r}, target='a:b')]\n"
        )
    with only_this_plugin("tinyllava-kit-two") as catalog:
        assert [offer.spec.name for offer in catalog.offers] == ["two"]
    assert [offer.spec.name for offer in discover().offers] == ["one", "two"]
    with pytest.raises(KitError, match="no plugin is of distribution 'three'"), only_this_plugin("three"):
        pass
