"""Weights as named tensors that are not read before they are wanted."""

from __future__ import annotations

import torch
from safetensors.torch import load_file

from tests.checkpoints.copies import CASE, copied
from tests.golden_models import GOLDEN
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
