"""What contracts see of folders: their content, files of them that are open, and packages that are missing."""

from __future__ import annotations

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path

from ..plugin.specs import Spec
from .contract import DoesNotApply

_OPEN = Path("/dev/fd")  # a link for each file that this process has open


def content_of(folder: Path) -> dict[str, str]:
    """The digest of each file of a folder, by its name in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def changed_files(before: dict[str, str], after: dict[str, str]) -> str:
    """The names of the files that are new, gone or others; empty where none is."""
    return ", ".join(sorted(dict(before.items() ^ after.items())))


def open_files(path: Path) -> set[str]:
    """Which files of the folder of a path are open in this process, each with its number.

    Raises:
        DoesNotApply: the system does not say.
    """
    if not _OPEN.is_dir():
        raise DoesNotApply("this system does not say which files are open")
    folder, found = os.path.realpath(path.parent), set()
    for number in os.listdir(_OPEN):
        try:
            name = os.path.realpath(_OPEN / number)
        except OSError:  # the one that listed them
            continue
        if name.startswith(f"{folder}{os.sep}"):
            found.add(f"{number}{os.sep}{os.path.relpath(name, folder)}")
    return found


def check_packages(spec: Spec | None) -> None:
    """Check that the packages of a spec are installed.

    Raises:
        DoesNotApply: a package that the spec says it needs is not installed.
    """
    missing = [name for name in getattr(spec, "packages", ()) if find_spec(name) is None]
    if missing:
        raise DoesNotApply(f"it needs {', '.join(missing)}, which is not installed")
