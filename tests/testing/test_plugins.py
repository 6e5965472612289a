"""A plugin as a whole."""

from __future__ import annotations

import pytest

from tests.fakes import FakeSite
from tinyllava_kit.plugin.discovery import discover
from tinyllava_kit.testing import CheckFailure
from tinyllava_kit.testing.plugins import check_loaded


def test_a_plugin_that_cannot_be_loaded_is_told_with_what_to_change(site: FakeSite) -> None:
    site.plugin("broken", "@hookimpl\ndef tinyllava_tower():\n    return []\n")
    (row,) = discover().plugins
    with pytest.raises(CheckFailure, match=r"is broken: .*unknown hook 'tinyllava_tower'[\s\S]*\nchange: "):
        check_loaded(row)
