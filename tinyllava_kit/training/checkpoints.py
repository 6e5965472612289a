"""The checkpoints of a stage: what each must still hold for a run to go on from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.trainer_utils import get_last_checkpoint

from ..core.disk import file_digest, tree_to_disk, write_json
from ..core.errors import KitError

DIGESTS_FILE = "digests.json"
KEPT = 2  # the last, and the one before it, should the last be damaged


def last_checkpoint(folder: Path) -> Path | None:
    """The last one in the folder of a stage's checkpoints, or None."""
    found = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    return Path(found) if found else None


def seal(checkpoint: Path, origin: Mapping[str, Any]) -> None:
    """Add digests of a checkpoint's files, and of what it learned from; returns when all of it is on the disk.

    Raises:
        KitError: they cannot be written.
    """
    digests = {name: file_digest(checkpoint / name) for name in _names(checkpoint)}
    write_json(checkpoint / DIGESTS_FILE, {"files": digests, "origin": origin})
    tree_to_disk(checkpoint)


def check_whole(checkpoint: Path) -> dict[str, Any]:
    """Compare a checkpoint's files with their digests; returns those of what it learned from.

    Raises:
        KitError: one has changed or is gone; says what to remove to go on from the checkpoint before.
    """
    try:
        sealed = json.loads((checkpoint / DIGESTS_FILE).read_text(encoding="utf-8"))
        files, origin = dict(sealed["files"]), dict(sealed["origin"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(checkpoint, f"{DIGESTS_FILE} is gone or damaged") from error
    for name, digest in files.items():
        if not (checkpoint / name).is_file():
            raise _damaged(checkpoint, f"{name} is gone")
        if file_digest(checkpoint / name) != digest:
            raise _damaged(checkpoint, f"{name} has changed since it was written")
    return origin


def _damaged(checkpoint: Path, what: str) -> KitError:
    numbers = {int(other.name.rpartition("-")[2]): other.name for other in checkpoint.parent.glob("checkpoint-*[0-9]")}
    earlier = [number for number in numbers if number < int(checkpoint.name.rpartition("-")[2])]
    then = f"go on from {numbers[max(earlier)]}" if earlier else "begin the stage anew"
    return KitError(f"{checkpoint.name} is damaged: {what}; remove {str(checkpoint)!r} to {then}")


def _names(checkpoint: Path) -> list[str]:
    files = (path for path in checkpoint.rglob("*") if path.is_file())
    return sorted(path.relative_to(checkpoint).as_posix() for path in files)
