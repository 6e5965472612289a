"""Small files are whole wherever their writer is killed; places that cannot be written are told before; digests."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from tests.files.killing import killed_at
from tinyllava_kit import KitError
from tinyllava_kit.files import writing as disk
from tinyllava_kit.files.writing import (
    beside,
    check_writable,
    file_digest,
    is_unfinished,
    remove_abandoned,
    tree_to_disk,
    unfinished,
    write_file,
    write_json,
)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_small_file_is_whole_wherever_its_writer_is_killed(tmp_path):
    path = tmp_path / "stage.json"
    for number in range(100):
        write_file(path, "old")
        if killed_at(number, lambda: write_json(path, {"new": [1, 2]})):
            break
        assert path.read_text() in ("old", '{\n "new": [\n  1,\n  2\n ]\n}\n')
    assert json.loads(path.read_text()) == {"new": [1, 2]}
    left = [each for each in tmp_path.iterdir() if each != path]
    assert left
    remove_abandoned(path, tmp_path)
    assert [each for each in tmp_path.iterdir() if each != path] == left  # another process may be at work
    remove_abandoned(path, tmp_path, seconds=0)
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_small_file_as_it_was(tmp_path, monkeypatch):
    write_file(tmp_path / "a.json", "old")
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(disk.os, "fsync", lambda _: (_ for _ in ()).throw(full))
    with pytest.raises(KitError, match=r"cannot write '.*a\.json': No space left on device"):
        write_file(tmp_path / "a.json", "new")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.json", "old")]


def test_a_place_that_cannot_be_written_is_told_before(tmp_path):
    (tmp_path / "file").write_text("")
    check_writable(tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists()
    for place in ("/proc/new", str(tmp_path / "file" / "new")):
        with pytest.raises(KitError, match=rf"cannot write to '{place}': .*; choose a place that can be written to"):
            check_writable(place)


def test_the_digest_of_a_large_file_sees_both_its_ends_and_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "_WHOLE_BYTES", 1 << 20)
    path = tmp_path / "shard"
    whole = bytearray(os.urandom(17 * (1 << 20) + 5))
    path.write_bytes(whole)
    was = file_digest(path, whole=False)
    for at in (0, len(whole) - 1):
        changed = bytearray(whole)
        changed[at] ^= 1
        path.write_bytes(changed)
        assert file_digest(path, whole=False) != was
    path.write_bytes(whole[:-1])
    assert file_digest(path, whole=False) != was
    path.write_bytes(whole)
    assert file_digest(path, whole=False) == was != file_digest(path)


def test_text_is_written_as_it_is_through_a_link_and_in_a_new_folder(tmp_path):
    write_file(tmp_path / "new" / "a.txt", "one\r\ntwo é \ud800")
    assert (tmp_path / "new/a.txt").read_bytes() == b"one\r\ntwo \xc3\xa9 \xed\xa0\x80"
    (tmp_path / "link").symlink_to(tmp_path / "new/a.txt")
    write_json(tmp_path / "link", {"é": [1]}, indent=None)
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "new/a.txt").read_text()) == {"é": [1]}


def test_a_place_under_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KitError, match=r"cannot write '.*/file/a\.txt': "):
        write_file(tmp_path / "file" / "a.txt", "x")


def test_unfinished_places_are_known_by_their_names(tmp_path):
    target = tmp_path / "model"
    assert is_unfinished(tmp_path / f"{unfinished(target)}123")
    assert not any(is_unfinished(tmp_path / name) for name in ("model", ".model", "a.unfinished-1"))
    assert beside(target) == tmp_path
    assert beside(Path("/proc")) == Path("/proc")


def test_what_killed_writers_left_goes_and_nothing_else(tmp_path):
    target = tmp_path / "model"
    left = [tmp_path / f"{unfinished(target)}{name}" for name in ("file", "folder", "new")]
    left[0].write_text("half")
    (left[1] / "deep").mkdir(parents=True)
    left[2].write_text("being written")
    for old in left[:2]:
        os.utime(old, (0, 0))
    others = [tmp_path / ".other.unfinished-1", tmp_path / "model"]
    for other in others:
        other.write_text("")
        os.utime(other, (0, 0))
    remove_abandoned(target, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([left[2], *others])
    remove_abandoned(target, tmp_path / "not there")


def test_all_of_a_folder_is_waited_for(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "sub/a")
    waited = []
    monkeypatch.setattr(disk, "to_disk", waited.append)
    tree_to_disk(tmp_path)
    assert sorted(waited) == sorted([tmp_path / "sub", tmp_path / "sub/a", tmp_path])


def test_the_digest_of_a_file_is_that_of_its_content(tmp_path):
    content = bytes(range(256)) * 5000  # more than is read at once
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "empty").write_bytes(b"")
    for whole in (True, False):
        assert file_digest(tmp_path / "a", whole=whole) == hashlib.sha256(content).hexdigest()
        assert file_digest(tmp_path / "empty", whole=whole) == hashlib.sha256().hexdigest()
