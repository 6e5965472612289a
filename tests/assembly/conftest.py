"""The parts of a model that reads pictures, as an assembly and as its blueprint."""

from __future__ import annotations

import pytest

from tests import toys
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.assembly.blueprint import Blueprint, read_blueprint


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """A Llama, a CLIP tower, a connector of two layers."""
    return toys.picture_assembly(toys.save_llama(tmp_path_factory.mktemp("parts") / "llm"))


@pytest.fixture(scope="session")
def blueprint(parts: Assembly) -> Blueprint:
    return read_blueprint(parts)
