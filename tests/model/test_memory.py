"""Free memory is returned to the kernel where the C library knows how, and nothing happens elsewhere."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import pytest

from tinyllava_kit.model import memory


@pytest.mark.parametrize(("platform", "calls"), [("linux", [0]), ("darwin", []), ("win32", [])])
def test_memory_is_trimmed_on_linux_alone(monkeypatch, platform, calls):
    trimmed: list[int] = []
    monkeypatch.setattr(memory.sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(malloc_trim=trimmed.append))
    memory.trim_memory()
    assert trimmed == calls


def test_a_c_library_that_cannot_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    memory.trim_memory()
