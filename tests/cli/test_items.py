"""Items on a command line."""

from __future__ import annotations

import pytest

from tests.fakes import FakeSite, offering
from tinyllava_kit.errors import KitError
from tinyllava_kit_cli.items import need_packages


def test_the_packages_of_a_strangers_modality_are_asked_for(site: FakeSite) -> None:
    spec = "ModalitySpec(name='smell', target='a:b', token=TokenType(placeholder='<smell>'), packages=('sniffer',))"
    site.plugin("noses", offering("tinyllava_modalities", spec))
    need_packages(["taste"])
    with pytest.raises(KitError, match="a file of smell needs sniffer; pip install sniffer"):
        need_packages(["smell"])
