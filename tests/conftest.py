"""What the tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import FakeSite


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSite:
    """An empty installation: the only one that discovery sees."""
    return FakeSite(tmp_path / "site", monkeypatch).alone()
