"""What the tests share."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import FakeSite

_ALL_SLOW = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.slow\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A module whose tests are all slow is not even imported where these are left out: it may need heavy libraries."""
    if config.getoption("markexpr") != "not slow" or not collection_path.match("test_*.py"):
        return None
    return bool(_ALL_SLOW.search(collection_path.read_text("utf-8"))) or None


@pytest.fixture(autouse=True)
def _denormals() -> Iterator[None]:
    """Training takes denormal numbers for zero, in the whole process; the next test has them back."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What is marked `cuda` wants a device."""
    if item.get_closest_marker("cuda") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("torch finds no CUDA device")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSite:
    """An empty installation: the only one that discovery sees."""
    return FakeSite(tmp_path / "site", monkeypatch).alone()
