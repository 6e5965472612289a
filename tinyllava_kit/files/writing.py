"""Small files that appear whole or not at all; digests of files. Light."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import KitError

_MARK = ".unfinished-"
_ABANDONED_SECONDS = 24 * 3600
_CHUNK = 1 << 20
_WHOLE_BYTES = 16 << 20  # files up to here are digested whole in any case
_PIECES, _PIECE_BYTES = 64, 64 << 10


def write_file(path: str | os.PathLike[str], content: str) -> None:
    """Write a text beside its place, to the disk, and rename it: a reader, or a crash, never meets half of it.

    Raises:
        KitError: it cannot be written; what was there before is unchanged.
        OSError: the same, in a directory that `saving.atomic_directory` writes.
    """
    place = Path(os.path.realpath(path))
    partial = place.with_name(f"{unfinished(place)}{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content.encode("utf-8", "surrogatepass"))
        to_disk(partial)
        os.replace(partial, place)
        to_disk(place.parent)
    except OSError as error:
        if any(is_unfinished(folder) for folder in place.parents):
            raise  # a file of a whole directory, which tells it
        raise KitError(f"cannot write {os.fspath(path)!r}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], value: Any, *, indent: int | None = 1) -> None:
    """Write a value as JSON, as `write_file`."""
    write_file(path, json.dumps(value, indent=indent) + "\n")


def check_writable(target: str | os.PathLike[str]) -> None:
    """Try to write where `target` shall be: before anything is loaded for it.

    Raises:
        KitError: its folder, or the nearest that is there, cannot be written to.
    """
    target = Path(os.path.realpath(target))
    folder = beside(target)
    folder = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        os.rmdir(tempfile.mkdtemp(prefix=unfinished(target), dir=folder))
    except OSError as error:
        raise KitError(
            f"cannot write to {str(target)!r}: {error.strerror or error}; choose a place that can be written to"
        ) from error


def beside(target: Path) -> Path:
    """The folder where something is written that becomes `target`: in a mount point itself, since a rename stays in
    one file system."""
    return target if os.path.ismount(target) else target.parent


def unfinished(target: Path) -> str:
    """How the names begin under which `target` is written before it has its own."""
    return f".{target.name}{_MARK}"


def is_unfinished(path: Path) -> bool:
    """Whether a path is such a place."""
    return path.name.startswith(".") and _MARK in path.name


def remove_abandoned(target: Path, folder: Path, *, seconds: float = _ABANDONED_SECONDS) -> None:
    """Remove what processes that were killed left in `folder` of writing `target`.

    Args:
        seconds: how long nobody has written to it; 0 where the caller alone writes `target`, see `locks`.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        if not path.name.startswith(unfinished(target)):
            continue
        with suppress(OSError):  # another process has finished it
            if time.time() - path.stat().st_mtime >= seconds:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk: after a crash, a name must not be empty."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # some file systems have no fsync for folders
            raise
    finally:
        os.close(descriptor)


def tree_to_disk(folder: Path) -> None:
    """`to_disk` for all that is in a folder, and for the folder."""
    for path in folder.rglob("*"):
        if not path.is_symlink() and (path.is_file() or path.is_dir()):
            to_disk(path)
    to_disk(folder)


def file_digest(path: Path, *, whole: bool = True) -> str:
    """SHA-256 of a file's content.

    Args:
        whole: False: of a large file, its size and pieces of it, the first and the last among them.
    """
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if whole or size <= _WHOLE_BYTES:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        else:
            digest.update(f"{size} ".encode())
            for number in range(_PIECES):
                file.seek((size - _PIECE_BYTES) * number // (_PIECES - 1))
                digest.update(file.read(_PIECE_BYTES))
    return digest.hexdigest()
