"""Weights that are read one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tinyllava_kit.pretrained.checkpoint import Unmapped, open_tensors

MAPS = Path("/proc/self/maps")


def test_tensors_are_read_when_they_are_taken(tmp_path: Path) -> None:
    first, second = {"a": torch.randn(3, 4), "b": torch.arange(5)}, {"c": torch.randn(2, dtype=torch.bfloat16)}
    save_file(first, tmp_path / "1.safetensors")
    save_file(second, tmp_path / "2.safetensors")
    opened = open_tensors([tmp_path / "1.safetensors", tmp_path / "2.safetensors"], passing={"a", "c"})
    assert opened.keys() == {"a", "b", "c"}
    assert [isinstance(opened[name], Unmapped) for name in "abc"] == [True, False, True]
    for name, value in {**first, **second}.items():
        assert torch.equal(opened[name][...], value)
    assert torch.equal(opened["a"][1:, 2], first["a"][1:, 2])


@pytest.mark.skipif(not MAPS.exists(), reason="the kernel's list of mappings is Linux's")
def test_a_file_is_mapped_as_long_as_a_tensor_of_it_is_there(tmp_path: Path) -> None:
    save_file({"a": torch.randn(300, 400)}, tmp_path / "weights.safetensors")
    taken = Unmapped(tmp_path / "weights.safetensors", "a")[...]
    assert str(tmp_path) in MAPS.read_text()
    del taken
    assert str(tmp_path) not in MAPS.read_text()
