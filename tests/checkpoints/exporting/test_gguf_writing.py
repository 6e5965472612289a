"""Tensors of a gguf file: the order of rows, and reading back what was written."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch

from tests.golden_models import GOLDEN
from tinyllava_kit import KitError, load_pretrained
from tinyllava_kit.checkpoints.exporting import gguf_files, gguf_writing

pytestmark = pytest.mark.slow


CLIP = "tinyllama_clip_mlp2x_gelu"


def golden(case, **how):
    model, processor = load_pretrained(GOLDEN / case, **how)
    return model.eval(), processor


def test_rows_are_paired_as_a_rotation_of_neighbours_wants_them():
    """Row i of a head's first half is followed by row i of its second half."""
    rows = torch.arange(2 * 6 * 5).reshape(12, 5)
    paired = gguf_writing.paired(rows, 2)
    order = [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
    assert torch.equal(paired, rows[order])
    assert torch.equal(gguf_writing.unpaired(paired, 2), rows)


@pytest.mark.parametrize("what", ["value", "order"])
def test_a_file_that_holds_something_else_is_not_published(tmp_path, monkeypatch, what):
    """The control of the comparison."""
    model, processor = golden(CLIP)
    if what == "order":
        monkeypatch.setattr(gguf_writing, "paired", lambda rows, heads: rows)
    else:
        values = gguf_writing.Entry.values
        monkeypatch.setattr(gguf_writing.Entry, "values", lambda self, dtype: values(self, dtype) * np.float32(1.001))
    with pytest.raises(KitError, match=r"model\.gguf: .* differs from the model's when it is read back"):
        gguf_files.export(model, processor, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_other_tensors_is_found_out(tmp_path):
    model, processor = golden(CLIP)
    gguf_files.export(model, processor, tmp_path / "out")
    entries = list(gguf_files._vision_entries(model))
    with pytest.raises(KitError, match=r"read back with other tensors than were written: \{'mm\.2\.bias'\}"):
        gguf_writing.check_written(tmp_path / "out" / "mmproj.gguf", entries[:-1], torch.float32)


def written(path, entries, dtype="float32"):
    writer = gguf_writing.open_writer(path, "llama", "model", "toy", dtype)
    return gguf_writing.write_entries(writer, path, entries, dtype)


def test_tensors_are_read_back_with_their_rows_in_turns_and_what_is_added(tmp_path):
    torch.manual_seed(0)
    weight, norm = torch.randn(12, 5), torch.rand(7)
    entries = [gguf_writing.Entry("a.weight", weight, heads=2), gguf_writing.Entry("b.weight", norm, plus=1.0)]
    done = written(tmp_path / "toy.gguf", entries, "float16")
    assert (done.file, done.num_tensors, done.dtype) == ("toy.gguf", 2, "float16")
    assert done.num_bytes == (tmp_path / "toy.gguf").stat().st_size
    found = {each.name: np.array(each.data) for each in gguf.GGUFReader(tmp_path / "toy.gguf").tensors}
    assert found["a.weight"].dtype == np.float16  # a matrix; norms stay whole
    assert np.array_equal(found["a.weight"], gguf_writing.paired(weight, 2).half().numpy())
    assert np.array_equal(found["b.weight"], (norm + 1).numpy())


def test_a_weight_beyond_the_halves_is_refused_and_a_vector_of_it_is_none(tmp_path):
    large = torch.full((2, 3), 70000.0)
    with pytest.raises(KitError, match=r"a\.weight: has weights beyond 65504, float16's largest; use --dtype float32"):
        written(tmp_path / "a.gguf", [gguf_writing.Entry("a.weight", large)], "float16")
    assert written(tmp_path / "b.gguf", [gguf_writing.Entry("b.weight", large[0])], "float16").num_tensors == 1
    assert written(tmp_path / "c.gguf", [gguf_writing.Entry("c.weight", large)]).num_tensors == 1
