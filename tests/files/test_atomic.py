"""Directories are whole or not there, wherever the process that writes them is killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.files.killing import killed_at
from tinyllava_kit import KitError
from tinyllava_kit.files import atomic as saving
from tinyllava_kit.files import writing as disk
from tinyllava_kit.files.atomic import atomic_directory
from tinyllava_kit.files.writing import write_file

OLD = {"config.json": "old", "model.safetensors": "old", "tokenizer.json": "old"}
NEW = {"config.json": "new", "model-1.safetensors": "new", "model-2.safetensors": "new", "sub/more.json": "new"}
OWN = {"README.md": "mine", ".git/objects/ab": "mine", "sub/mine.txt": "mine"}
AFTER = {**NEW, **OWN, "tokenizer.json": "old"}


def fill(folder, content):
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read(folder):
    return {str(f.relative_to(folder)): f.read_text() for f in sorted(folder.rglob("*")) if f.is_file()}


def save(target, **how):
    with atomic_directory(target, **how) as place:
        fill(place, NEW)


@pytest.fixture
def no_waiting(monkeypatch):
    """Hundreds of times for a disk, which no kill of a process has to do with."""
    monkeypatch.setattr(disk, "to_disk", lambda _: None)
    monkeypatch.setattr(saving, "to_disk", lambda _: None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_kill_at_any_moment_leaves_the_old_directory_or_the_new_one(tmp_path, no_waiting):
    seen = set()
    for number in range(1000):
        target = tmp_path / str(number) / "m"
        fill(target, {**OLD, **OWN})
        ended = killed_at(number, lambda target=target: save(target))
        assert read(target) in ({**OLD, **OWN}, AFTER), number
        seen.add(read(target) == AFTER)
        if ended:
            break
    assert seen == {False, True}
    assert read(target) == AFTER
    assert [path.name for path in target.parent.iterdir()] == ["m"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_where_directories_cannot_be_exchanged_a_kill_leaves_no_model_of_two(tmp_path, monkeypatch, no_waiting):
    monkeypatch.setattr(saving, "_exchange", lambda *_: False)
    broken = 0
    for number in range(1000):
        target = tmp_path / str(number) / "m"
        fill(target, {**OLD, **OWN})
        ended = killed_at(number, lambda target=target: save(target))
        found = read(target)
        assert found in ({**OLD, **OWN}, AFTER) or "config.json" not in found, number
        assert {name: found[name] for name in OWN} == OWN
        broken += "config.json" not in found
        if ended:
            break
    assert broken
    assert read(target) == AFTER


def test_what_is_ones_own_stays_the_very_file(tmp_path):
    target = tmp_path / "m"
    fill(target, {**OLD, **OWN})
    (target / "link").symlink_to("nowhere")
    target.chmod(0o750)
    inode = (target / "README.md").stat().st_ino
    with (target / "log").open("a") as log:
        log.write("before, ")
        save(target)
        log.write("after")
    assert (target / "README.md").stat().st_ino == inode
    assert (target / "log").read_text() == "before, after"
    assert os.readlink(target / "link") == "nowhere"
    assert target.stat().st_mode & 0o777 == 0o750


def test_what_shall_not_stay_goes_with_the_old_directory(tmp_path):
    fill(tmp_path / "m", {**OLD, **OWN, "checkpoints/checkpoint-2/a": "old", "training.json": "old"})
    save(tmp_path / "m", without=("checkpoints", "training*"))
    assert read(tmp_path / "m") == AFTER


def test_a_link_stays_a_link_to_the_directory_that_is_replaced(tmp_path):
    fill(tmp_path / "disk" / "real", OLD)
    (tmp_path / "m").symlink_to("disk/real")
    save(tmp_path / "m")
    assert os.readlink(tmp_path / "m") == "disk/real"
    assert read(tmp_path / "disk" / "real") == {**NEW, "tokenizer.json": "old"}


@pytest.mark.parametrize("inside", [".", "sub"])
def test_the_working_directory_is_not_taken_away(tmp_path, monkeypatch, inside):
    fill(tmp_path / "m", {**OLD, **OWN})
    monkeypatch.chdir(tmp_path / "m" / inside)
    here = os.stat(".").st_ino
    save("." if inside == "." else "..")
    assert os.stat(".").st_ino == here == (tmp_path / "m" / inside).stat().st_ino
    assert read(tmp_path / "m") == AFTER


@pytest.mark.parametrize("mounted", ["m", "m/sub"])
def test_what_something_is_mounted_on_or_in_changes_file_by_file(tmp_path, monkeypatch, mounted):
    """The files are written in the mounted file system: nothing can be renamed from beside it."""
    fill(tmp_path / "m", {**OLD, **OWN})
    here = (tmp_path / "m").stat().st_ino
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path / mounted)
    with atomic_directory(tmp_path / "m", without=("*",) if mounted == "m" else ()) as place:
        assert place.parent == (tmp_path / "m" if mounted == "m" else tmp_path)
        fill(place, NEW)
    assert (tmp_path / "m").stat().st_ino == here
    assert read(tmp_path / "m") == (NEW if mounted == "m" else AFTER)


def test_where_there_are_no_hard_links_the_files_are_changed_in_their_places(tmp_path, monkeypatch):
    fill(tmp_path / "m", {**OLD, **OWN})
    monkeypatch.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(PermissionError(1, "not permitted")))
    save(tmp_path / "m")
    assert read(tmp_path / "m") == AFTER


def test_a_directory_within_another_that_is_being_written_is_that_ones_part(tmp_path):
    fill(tmp_path / "m", OLD)
    with atomic_directory(tmp_path / "m") as place:
        save(place)
        fill(place, {"more": "new"})
        assert read(tmp_path / "m") == OLD
    assert read(tmp_path / "m") == {**NEW, "more": "new", "tokenizer.json": "old"}


def test_what_fails_changes_nothing_and_leaves_nothing(tmp_path):
    fill(tmp_path / "m", OLD)
    said = r"cannot save '.*m': .*No space left.*; the earlier content is unchanged"

    def full():
        with atomic_directory(tmp_path / "m") as place:
            fill(place, NEW)
            raise OSError(28, "No space left on device")

    with pytest.raises(KitError, match=said):
        full()
    assert read(tmp_path) == {f"m/{name}": text for name, text in OLD.items()}


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "m").write_text("mine")
    with pytest.raises(KitError, match=r"cannot write to '.*m': it is a file"), atomic_directory(tmp_path / "m"):
        pass
    assert (tmp_path / "m").read_text() == "mine"


def test_a_small_file_that_fails_within_a_directory_is_the_directorys_failure(tmp_path, monkeypatch):
    fill(tmp_path / "m", OLD)
    keep = os.replace

    def replace(one, other):
        raise OSError(28, "No space left on device")

    def full():
        with atomic_directory(tmp_path / "m") as place:
            monkeypatch.setattr(os, "replace", replace)
            write_file(place / "card.md", "new")

    with pytest.raises(KitError, match=r"cannot save '.*m': .*No space left.*; the earlier content is unchanged"):
        full()
    monkeypatch.setattr(os, "replace", keep)
    assert read(tmp_path) == {f"m/{name}": text for name, text in OLD.items()}
