"""Directories that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from safetensors import SafetensorError

from .checkpoint import first_line
from .errors import KitError

# What save_pretrained(push_to_hub=True) hands on to push_to_hub.
HUB_ARGUMENTS = ("repo_id", "commit_message", "commit_description", "private", "token", "revision", "create_pr", "tags")

_ABANDONED_SECONDS = 24 * 3600


@contextmanager
def whole_directory(target: str | os.PathLike[str], *, without: Sequence[str] = ()) -> Iterator[Path]:
    """Write into the yielded directory; it becomes `target` when the block ends well.

    A new directory is renamed into place. Into one that exists, each file is renamed over its old self,
    ``config.json`` last, and weight shards of the old model are removed; other files stay.

    Args:
        without: patterns of names at the top of an existing directory that do not stay.

    Raises:
        KitError: it cannot be written (full disk, no permission); the old content is as it was.
    """
    target = Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target)
        stage = Path(tempfile.mkdtemp(prefix=_unfinished(target), dir=target.parent))
    except OSError as error:
        raise KitError(f"cannot write to {str(target)!r}: {first_line(error)}") from error
    try:
        yield stage
        _publish(stage, target, without)
    except (OSError, SafetensorError) as error:
        raise KitError(
            f"cannot save {str(target)!r}: {first_line(error)}; what was there before is unchanged"
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _unfinished(target: Path) -> str:
    """How the directories begin in which `target` is written."""
    return f".{target.name}.unfinished-"


def _remove_abandoned(target: Path) -> None:
    """What processes that were killed a day ago or longer left of writing `target`."""
    for path in target.parent.iterdir():
        if path.name.startswith(_unfinished(target)) and time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _publish(stage: Path, target: Path, without: Sequence[str]) -> None:
    files = sorted((f for f in stage.rglob("*") if f.is_file()), key=lambda f: f.name == "config.json")
    stage.chmod(0o777 & ~_umask())
    for file in files:
        file.chmod(0o666 & ~_umask())  # safetensors and mkdtemp write for the owner alone
    if not target.exists():
        os.rename(stage, target)
        return
    new = {f.relative_to(stage) for f in files}
    for file in files:
        place = target / file.relative_to(stage)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, place)
    if any(path.suffix == ".safetensors" for path in new):
        for old in target.glob("model*.safetensors*"):
            if old.relative_to(target) not in new:
                old.unlink()
    tops = {path.parts[0] for path in new}
    for old in list(target.iterdir()):
        if old.name not in tops and any(fnmatch(old.name, pattern) for pattern in without):
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
