"""Directories that appear whole or not at all."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

from safetensors import SafetensorError

from ..errors import KitError
from .failures import first_line
from .writing import beside, is_unfinished, remove_abandoned, to_disk, tree_to_disk, unfinished

# What save_pretrained(push_to_hub=True) hands on to push_to_hub.
HUB_ARGUMENTS = ("repo_id", "commit_message", "commit_description", "private", "token", "revision", "create_pr", "tags")

_WEIGHTS = "model*.safetensors*"  # one file, or shards and their index
_CONFIG = "config.json"
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux' renameat2


@contextmanager
def atomic_directory(target: str | os.PathLike[str], *, without: Sequence[str] = ()) -> Iterator[Path]:
    """Write into the yielded directory; it becomes `target` when the block ends well.

    A new directory is renamed into place. One that exists is exchanged in one step for one that holds the new files
    and those old ones that stay: all that have no new file of their name, but for weights of the old model and what
    `without` names. A link stays a link; the directory that it names is exchanged. Inside another whole directory,
    that one's end counts.

    Args:
        without: patterns of names at the top of an existing directory that do not stay.

    Raises:
        KitError: it cannot be written (full disk, no permission); the old content is as it was.
    """
    target = Path(os.path.realpath(target))
    if is_unfinished(target):
        yield target
        return
    folder = beside(target)
    try:
        if target.exists() and not target.is_dir():
            raise NotADirectoryError("it is a file")
        folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(target, folder)
        place = Path(tempfile.mkdtemp(prefix=unfinished(target), dir=folder))
    except OSError as error:
        raise KitError(f"cannot write to {str(target)!r}: {first_line(error)}") from error
    try:
        yield place
        _publish(place, target, without)
    except (OSError, SafetensorError) as error:
        raise KitError(f"cannot save {str(target)!r}: {first_line(error)}; the earlier content is unchanged") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _publish(place: Path, target: Path, without: Sequence[str]) -> None:
    files = [path for path in place.rglob("*") if not path.is_dir()]
    for path in files:
        path.chmod(0o666 & ~_umask())  # safetensors and mkdtemp write for the owner alone
    place.chmod(0o777 & ~_umask())
    tree_to_disk(place)
    if not target.exists():
        os.rename(place, target)
    else:
        new = {path.relative_to(place) for path in files}
        if not (_may_exchange(target) and _keep(target, place, new, without) and _exchange(place, target)):
            _replace(place, target, new, without)
    to_disk(target.parent)


def _goes(path: Path, new: set[Path], without: Sequence[str]) -> bool:
    """Whether a file at the top of the old directory goes though no new one has its name."""
    weights = any(fnmatch(str(each), _WEIGHTS) for each in new) and fnmatch(path.name, _WEIGHTS)
    return weights or any(fnmatch(path.name, pattern) for pattern in without)


def _may_exchange(target: Path) -> bool:
    """Not what something is mounted on or in, nor where this process, and so the shell behind it, stands."""
    with suppress(FileNotFoundError):  # the working directory is gone
        if Path.cwd().is_relative_to(target):
            return False
    return not any(os.path.ismount(folder) for folder, _, _ in os.walk(target))


def _keep(target: Path, place: Path, new: set[Path], without: Sequence[str]) -> bool:
    """Link into `place` what stays of `target`, which is no copy; False where the file system has no such links."""
    try:
        for old in target.iterdir():
            if not _goes(old, new, without):
                _link(old, place / old.name)
        shutil.copymode(target, place)
        owned = target.stat()
        with suppress(PermissionError):
            os.chown(place, owned.st_uid, owned.st_gid)
    except OSError:
        return False
    return True


def _link(old: Path, place: Path) -> None:
    """A file, a link, or all in a folder; a new one of its name comes before it."""
    if old.is_dir() and not old.is_symlink():
        if place.exists() and not place.is_dir():
            return
        place.mkdir(exist_ok=True)
        for each in old.iterdir():
            _link(each, place / each.name)
        shutil.copystat(old, place)
    elif not place.exists() and not place.is_symlink():
        os.link(old, place, follow_symlinks=False)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two directories in one step; False where the system cannot. Python has no call for it."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    return rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0


def _replace(place: Path, target: Path, new: set[Path], without: Sequence[str]) -> None:
    """File by file, where there is no exchange: ``config.json`` goes first and comes last.

    So a process that is killed in between leaves a directory that is no model, not one of two models.

    Raises:
        KitError: it failed in between.
    """
    try:
        _replace_each(place, target, new, without)
    except OSError as error:
        raise KitError(
            f"cannot save {str(target)!r}: {first_line(error)}; some of its files are new and some old: write it again"
        ) from error


def _replace_each(place: Path, target: Path, new: set[Path], without: Sequence[str]) -> None:
    if Path(_CONFIG) in new:
        (target / _CONFIG).unlink(missing_ok=True)
        to_disk(target)
    for old in list(target.iterdir()):
        if _goes(old, new, without) and old.relative_to(target) not in new and old != place:
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    for file in sorted(new, key=lambda file: file == Path(_CONFIG)):
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        os.replace(place / file, target / file)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
