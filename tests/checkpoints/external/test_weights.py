"""Weights as named tensors that are not read before they are wanted."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints.copies import CASE, copied
from tests.golden_models import GOLDEN
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.external.weights import Lazy, open_file, open_weights, weight_files
from tinyllava_kit.checkpoints.loading import load_pretrained


def pickled(value, name="pytorch_model.bin"):
    def write(folder):
        (folder / "model.safetensors").unlink()
        torch.save(value, folder / name)

    return write


def test_a_pickle_of_tensors_is_read(tmp_path):
    folder = copied(CASE, tmp_path / "model")
    pickled(load_file(folder / "model.safetensors"))(folder)
    ours, _ = load_pretrained(folder, names_from=str(GOLDEN))
    theirs, _ = load_pretrained(CASE)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_the_first_kind_of_file_that_is_there_counts_and_shards_are_in_order(tmp_path):
    assert weight_files(tmp_path) == []
    with pytest.raises(KitError, match=r"has no weights; expected one of model\.safetensors\.index\.json, model"):
        open_weights(tmp_path)
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    assert [file.name for file in weight_files(tmp_path)] == ["pytorch_model.bin"]
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    assert [file.name for file in weight_files(tmp_path)] == ["model.safetensors"]
    for number in (2, 1):
        save_file({f"{number}": torch.zeros(number)}, tmp_path / f"{number}.safetensors")
    index = {"weight_map": {"2": "2.safetensors", "1": "1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert [file.name for file in weight_files(tmp_path)] == ["1.safetensors", "2.safetensors"]
    assert {name: lazy.shape for name, lazy in open_weights(tmp_path).items()} == {"1": (1,), "2": (2,)}


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shapes_and_dtypes_are_known_before_a_tensor_is_read(tmp_path, kind):
    tensors = {"a": torch.randn(3, 5).half(), "b": torch.arange(7), "c": torch.tensor(True), "d": torch.zeros(0, 2)}
    file = tmp_path / f"a.{kind}"
    save_file(tensors, file) if kind == "safetensors" else torch.save(tensors, file)
    found = open_file(file)
    assert {name: (lazy.shape, lazy.dtype) for name, lazy in found.items()} == {
        name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()
    }
    assert all(torch.equal(found[name].read(), tensor) for name, tensor in tensors.items())


def test_every_dtype_that_a_file_can_have_is_known_or_refused_by_name(tmp_path):
    """torch writes more dtypes than a model is made of."""
    for dtype in (torch.float64, torch.bfloat16, torch.int8, torch.uint8, torch.float8_e4m3fn, torch.float8_e5m2):
        save_file({"a": torch.zeros(2, dtype=dtype)}, tmp_path / "a.safetensors")
        assert open_file(tmp_path / "a.safetensors")["a"].dtype == dtype
    for dtype, name in ((torch.uint16, "U16"), (torch.uint64, "U64")):
        save_file({"odd": torch.zeros(2, dtype=dtype)}, tmp_path / "b.safetensors")
        with pytest.raises(KitError, match=rf"b\.safetensors: 'odd' is of the type {name}, which no weight has"):
            open_file(tmp_path / "b.safetensors")


def test_a_tensor_in_memory_is_its_own():
    tensor = torch.randn(2, 3)
    lazy = Lazy.of(tensor)
    assert (lazy.shape, lazy.dtype) == ((2, 3), torch.float32)
    assert lazy.read() is tensor
