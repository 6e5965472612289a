"""What the tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import FakeSite


@pytest.fixture(autouse=True)
def _denormals() -> Iterator[None]:
    """Training takes denormal numbers for zero, in the whole process; the next test has them back."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSite:
    """An empty installation: the only one that discovery sees."""
    return FakeSite(tmp_path / "site", monkeypatch).alone()
