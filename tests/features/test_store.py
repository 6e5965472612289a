"""Parts of items in shards: what is written is read back, and what is damaged is removed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from tinyllava_kit import KitError
from tinyllava_kit.features.store import FeatureStore, features_of
from tinyllava_kit.processing.encoded import EncodedItem


def shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.safetensors") if not path.name.startswith("."))


def test_any_bit_of_a_shards_header_is_seen(tmp_path):
    """No error, and no other features than those that were written."""
    entries = {
        f"k{n}": [EncodedItem(modality="image", num_features=[3], rows=[], features=torch.randn(3, 2))] for n in (0, 1)
    }
    FeatureStore(tmp_path).write("space", entries)
    (path,) = shards(tmp_path)
    whole = path.read_bytes()
    for bit in range(0, 8 * (8 + int.from_bytes(whole[:8], "little")), 3):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        store = FeatureStore(tmp_path)
        store.find("space")
        for key, (written,) in entries.items():
            if store.has("space", key):
                (part,) = store.get("space", key)
                assert (part.modality, part.num_features) == ("image", [3])
                assert torch.equal(part.features, written.features)


def part(*shape: int, dtype: torch.dtype = torch.float32) -> EncodedItem:
    return EncodedItem(modality="image", num_features=[shape[0]], features=torch.randn(*shape).to(dtype))


def test_parts_are_read_as_they_were_written_here_and_elsewhere(tmp_path):
    first, second = part(3, 2), part(1, 5, dtype=torch.bfloat16)
    written = {"k0": [first, "between", second], "k1": [part(2, 2)], "k2": ["text alone"]}
    here, there = FeatureStore(tmp_path / "made"), FeatureStore(tmp_path / "made")
    here.write("space", written)
    there.find("space")
    for store in (here, there, pickle.loads(pickle.dumps(there))):
        assert [store.has("space", key) for key in ("k0", "k1", "k2", "k3")] == [True, True, True, False]
        assert not store.has("other", "k0")
        one, text, two = store.get("space", "k0")
        assert (text, store.get("space", "k2")) == ("between", ["text alone"])
        for found, wanted in ((one, first), (two, second)):
            assert (found.modality, found.num_features) == (wanted.modality, wanted.num_features)
            assert found.features.dtype == wanted.features.dtype
            assert torch.equal(found.features, wanted.features)


def test_shards_of_another_space_are_not_looked_at(tmp_path):
    FeatureStore(tmp_path).write("one", {"k": [part(1, 2)]})
    store = FeatureStore(tmp_path)
    store.find("two")
    assert not store.has("one", "k")
    store.find("one")
    assert store.has("one", "k")
    FeatureStore(tmp_path / "nothing there").find("one")


def test_numbers_that_have_changed_are_removed_with_one_line(tmp_path, capsys):
    FeatureStore(tmp_path).write("space", {"k": [part(4, 3)]})
    (path,) = shards(tmp_path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    store = FeatureStore(tmp_path)
    store.find("space")
    assert not store.has("space", "k")
    assert capsys.readouterr().out == f"{path}: damaged features, which are removed and made again\n"
    assert not path.exists()


def test_a_shard_that_is_gone_before_it_was_opened_is_an_error(tmp_path):
    FeatureStore(tmp_path).write("space", {"k": [part(4, 3)]})
    store = FeatureStore(tmp_path)
    store.find("space")
    store = pickle.loads(pickle.dumps(store))  # nothing is open
    (path,) = shards(tmp_path)
    path.unlink()
    with pytest.raises(KitError, match=r"cannot read features of '.*space-.*\.safetensors': .*; start again"):
        store.get("space", "k")


def test_what_nobody_has_used_for_longest_makes_room_and_what_is_used_stays(tmp_path):
    for number in range(3):
        FeatureStore(tmp_path).write("space", {f"k{number}": [part(4, 3)]})
        (path,) = (each for each in shards(tmp_path) if each.stat().st_mtime > 100)
        os.utime(path, (number, number))
    size = max(each.stat().st_size for each in shards(tmp_path))
    store = FeatureStore(tmp_path, max_bytes=3.5 * size)
    store.find("space")
    assert store.has("space", "k0")  # used now
    store.write("space", {"k3": [part(4, 3)]})
    fresh = FeatureStore(tmp_path)
    fresh.find("space")
    assert [fresh.has("space", f"k{number}") for number in range(4)] == [True, False, True, True]
    narrow = FeatureStore(tmp_path / "narrow", max_bytes=10)
    with pytest.raises(KitError, match=r"the features take more than max_gb 1e-08 in '.*narrow'; raise it"):
        narrow.write("space", {"k": [part(4, 3)]})
    assert shards(tmp_path / "narrow") == []


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path):
    (tmp_path / ".unfinished-space-1.safetensors").write_bytes(b"half")
    FeatureStore(tmp_path).write("space", {"k": [part(1, 1)]})
    assert list(tmp_path.glob(".unfinished-*")) == []


def test_features_are_those_of_the_parts_that_have_some():
    one, two = part(2, 3), part(1, 3)
    read = EncodedItem(modality="image", num_features=[4], rows=[{}])
    assert [each.shape for each in features_of([one, "text", read, two])] == [(2, 3), (1, 3)]
    assert features_of([]) == []
