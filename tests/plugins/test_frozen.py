"""Wheels of plugins that were built against version 0.1.0: what they were written for goes on working.

A wheel here is never built anew. One that no longer passes is a broken promise: plugins of strangers would break, too.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.fakes import FakeSite
from tests.testing.right import passes
from tinyllava_kit.plugin.discovery import discover
from tinyllava_kit.plugin.hookspecs import HOOKS
from tinyllava_kit.testing import contract_of

pytestmark = pytest.mark.slow

WHEELS = sorted((Path(__file__).parent / "frozen").glob("*.whl"))
# What starts compilers or processes, or trains.
_LONG = ("compile", "learned", "light", "incomplete", "whole")


def test_there_is_a_wheel_of_each_kind_that_has_a_hook_of_its_own() -> None:
    kinds = {wheel.name.split("-")[0].rpartition("_")[2] for wheel in WHEELS}
    assert kinds == set(HOOKS.values())


@pytest.mark.parametrize("wheel", WHEELS, ids=lambda wheel: wheel.name.split("-")[0])
def test_a_plugin_of_an_earlier_version_passes_its_checks(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = FakeSite(tmp_path / "site", monkeypatch)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site.folder)
    site.forget()  # what was found before
    catalog = discover()
    distribution = wheel.name.split("-")[0].replace("_", "-")
    offers = [offer for offer in catalog.offers if offer.distribution == distribution]
    assert offers, [plugin for plugin in catalog.plugins if plugin.distribution == distribution]
    for offer in offers:
        passes(contract_of(offer, catalog)(), leaving_out=_LONG)
