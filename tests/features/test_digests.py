"""Digests of content: equal for equal content whatever holds it, and other for anything else."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from tinyllava_kit.features.digests import parts_digest, source_digest
from tinyllava_kit.processing.encoded import EncodedItem


def test_a_file_is_its_content(tmp_path):
    for name, content in (("a.png", b"abc"), ("b.jpg", b"abc"), ("c.png", b"abd")):
        (tmp_path / name).write_bytes(content)
    first = source_digest(tmp_path / "a.png")
    assert len(first) == 40
    for same in (str(tmp_path / "a.png"), tmp_path / "b.jpg", b"abc", bytearray(b"abc"), memoryview(b"abc")):
        assert source_digest(same) == first
    assert source_digest(tmp_path / "c.png") != first
    large = bytes(range(256)) * 5000  # more than is read at once
    (tmp_path / "large").write_bytes(large)
    assert source_digest(tmp_path / "large") == source_digest(large)


def test_no_two_values_have_one_digest():
    numbers = np.arange(6, dtype=np.int32)
    values = [
        *(None, True, 1, 1.0, "1", "", b"", "None", "no such file", Path("no such file").name.encode()),
        *([], [[]], [1, 2], [[1], 2], ["1", "2"], ["12"], {}, {"a": 1}, {"a": [1]}, {"b": 1}, [("a", 1)]),
        *(numbers, numbers.reshape(2, 3), numbers.reshape(3, 2), numbers.astype(np.int64), numbers[::-1]),
        *(torch.arange(6), torch.arange(6, dtype=torch.int32), torch.zeros(0), torch.zeros(0, 2)),
    ]
    digests = [source_digest(value) for value in values]
    for (one, a), (other, b) in itertools.combinations(zip(values, digests, strict=True), 2):
        assert a != b, (one, other)


def test_how_an_array_lies_in_memory_and_in_what_order_keys_come_does_not_matter():
    pixels = np.arange(12).reshape(3, 4)
    assert source_digest(pixels.T.copy().T) == source_digest(pixels)
    assert source_digest(torch.arange(12).view(3, 4).t().contiguous().t()) == source_digest(torch.arange(12).view(3, 4))
    assert source_digest({"b": 1, "a": pixels}) == source_digest({"a": pixels, "b": 1})
    assert source_digest((1, 2)) == source_digest([1, 2])
    assert source_digest(torch.zeros(2, dtype=torch.bfloat16)) is not None


@pytest.mark.parametrize("value", [object(), [1, object()], {"a": {1, 2}}, np.array([object()])])
def test_what_cannot_be_seen_into_has_none(value):
    assert source_digest(value) is None


def test_a_directory_has_none(tmp_path):
    assert source_digest(tmp_path) is None


def test_parts_are_their_rows_and_the_text_between():
    def part(value: float, count: int = 4):
        return EncodedItem(modality="image", num_features=[count], rows=[{"x": torch.full((2,), value)}])

    first = parts_digest([part(1.0), "text", part(2.0)])
    assert parts_digest([part(1.0), "text", part(2.0)]) == first
    others = [[part(1.0), part(2.0)], [part(1.0), "texts", part(2.0)], [part(1.0), "text", part(3.0)]]
    others += [[part(1.0, 5), "text", part(2.0)], [part(2.0), "text", part(1.0)], []]
    assert len({first, *map(parts_digest, others)}) == 7
