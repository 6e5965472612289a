"""Where transformers' own tests come from, on a tiny stand-in; nothing is downloaded."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from examples.assets import sha256
from tests.transformers_suite import source
from tinyllava_kit import KitError

VERSION = "5.98.0"


def save_sdist(folder: Path, names: list[str]) -> Path:
    file = folder / f"transformers-{VERSION}.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        for name in names:
            info = tarfile.TarInfo(f"transformers-{VERSION}/{name}")
            info.size = len(name)
            archive.addfile(info, io.BytesIO(name.encode()))
    return file


@pytest.mark.parametrize("stale", [[], ["tests/of_another_version.py"]], ids=["new", "over another version"])
def test_the_tests_of_a_source_distribution_are_unpacked_and_nothing_else(tmp_path, monkeypatch, stale):
    for name in stale:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    file = save_sdist(tmp_path, ["setup.py", "tests/test_modeling_common.py", "src/tests/other.py"])
    monkeypatch.setitem(source.PINNED, VERSION, sha256(file))
    monkeypatch.setattr(source, "version", lambda _: VERSION)
    source.unpack_tests(tmp_path)
    found = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()} - {Path(file.name)}
    assert found == {Path("tests/test_modeling_common.py")}


def test_a_source_distribution_is_the_pinned_one_of_the_version_that_is_installed(monkeypatch):
    for version, digest in source.PINNED.items():
        monkeypatch.setattr(source, "version", lambda _, version=version: version)
        package = source.sdist()
        assert (package.file, package.sha256) == (f"transformers-{version}.tar.gz", digest)


def test_for_another_version_nothing_is_fetched_and_the_reason_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(source, "version", lambda _: "5.99.0")
    source.unpack_tests(tmp_path)
    said = "transformers 5.99.0 is installed; the tests are pinned for 5.23.0, 5.24.0"
    assert capsys.readouterr().out.startswith(said)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv(source.VARIABLE, str(tmp_path))
    assert source.missing() == said


def test_without_a_folder_the_reason_says_how_to_get_one(monkeypatch):
    monkeypatch.delenv(source.VARIABLE, raising=False)
    assert source.missing().endswith("make test-transformers gets them")


def test_a_folder_without_the_tests_is_an_error_where_the_version_is_pinned(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "version", lambda _: next(iter(source.PINNED)))
    monkeypatch.setenv(source.VARIABLE, str(tmp_path))
    assert source.missing() is None
    with pytest.raises(KitError, match=f"{tmp_path} has no test_modeling_common.py; make test-transformers"):
        source.common()
