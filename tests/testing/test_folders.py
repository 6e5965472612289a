"""What is in a folder, what has changed there, and which of its files are open."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import pytest

from tinyllava_kit.testing import DoesNotApply, folders
from tinyllava_kit.testing.folders import changed_files, check_packages, content_of, open_files


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.txt").write_bytes(b"one")
    (tmp_path / "inner" / "b.txt").write_bytes(b"")
    return tmp_path


def test_each_file_is_known_by_its_digest(folder):
    assert content_of(folder) == {
        name: hashlib.sha256(content).hexdigest() for name, content in (("a.txt", b"one"), ("inner/b.txt", b""))
    }
    assert content_of(folder / "gone") == {}


def test_files_that_are_new_gone_or_others_are_named(folder):
    before = content_of(folder)
    assert changed_files(before, content_of(folder)) == ""
    (folder / "a.txt").write_bytes(b"two")
    (folder / "inner" / "b.txt").rename(folder / "c.txt")
    assert changed_files(before, content_of(folder)) == "a.txt, c.txt, inner/b.txt"


def test_open_files_are_those_of_the_folder(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "d.txt"
    other.touch()
    before = open_files(folder / "a.txt")
    with open(folder / "a.txt"), open(folder / "inner" / "b.txt"), other.open():
        names = {each.partition("/")[2] for each in open_files(folder / "a.txt") - before}
    assert names == {"a.txt", "inner/b.txt"}
    assert open_files(folder / "a.txt") == before


def test_a_system_that_does_not_say_has_no_such_check(folder, monkeypatch):
    monkeypatch.setattr(folders, "_OPEN", folder / "gone")
    with pytest.raises(DoesNotApply, match="this system does not say which files are open"):
        open_files(folder / "a.txt")


def test_a_package_that_is_not_installed_is_the_reason():
    for spec in (None, SimpleNamespace(), SimpleNamespace(packages=("json", "torch"))):
        check_packages(spec)
    with pytest.raises(DoesNotApply, match=r"^it needs nose, ear, which is not installed$"):
        check_packages(SimpleNamespace(packages=("nose", "json", "ear")))
