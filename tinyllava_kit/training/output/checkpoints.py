"""The checkpoints of a stage: what each must still hold for a run to resume from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.trainer_utils import get_last_checkpoint

from ...errors import KitError
from ...files.failures import read_mapping
from ...files.writing import file_digest, tree_to_disk, write_json

DIGESTS_FILE = "digests.json"
KEPT = 2  # the last, and the one before it, should the last be damaged


def last_checkpoint(folder: Path) -> Path | None:
    """The last one in the folder of a stage's checkpoints, or None."""
    found = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    return Path(found) if found else None


def seal(checkpoint: Path, provenance: Mapping[str, Any]) -> None:
    """Add digests of a checkpoint's files, and of what it learned from; returns when all of it is on the disk.

    Raises:
        KitError: they cannot be written.
    """
    digests = {name: file_digest(checkpoint / name) for name in _names(checkpoint)}
    write_json(checkpoint / DIGESTS_FILE, {"files": digests, "provenance": provenance})
    tree_to_disk(checkpoint)


def check_whole(checkpoint: Path) -> dict[str, Any]:
    """Compare a checkpoint's files with their digests; returns those of what it learned from.

    Raises:
        KitError: one has changed or is gone; says what to remove to resume from the checkpoint before.
    """
    try:
        sealed = read_mapping(checkpoint / DIGESTS_FILE)
        files, provenance = dict(sealed["files"]), dict(sealed["provenance"])
    except (KitError, ValueError, KeyError, TypeError) as error:
        raise _damaged(checkpoint, f"{DIGESTS_FILE} is gone or damaged") from error
    for name, digest in files.items():
        if not (checkpoint / name).is_file():
            raise _damaged(checkpoint, f"{name} is gone")
        if file_digest(checkpoint / name) != digest:
            raise _damaged(checkpoint, f"{name} has changed since it was written")
    return provenance


def _damaged(checkpoint: Path, what: str) -> KitError:
    steps = [other.name.removeprefix("checkpoint-") for other in checkpoint.parent.glob("checkpoint-*")]
    step = int(checkpoint.name.removeprefix("checkpoint-"))
    earlier = [int(other) for other in steps if other.isdecimal() and int(other) < step]
    then = f"resume from checkpoint-{max(earlier)}" if earlier else "start the stage again"
    return KitError(f"{checkpoint.name} is damaged: {what}; remove {str(checkpoint)!r} to {then}")


def _names(checkpoint: Path) -> list[str]:
    files = (path for path in checkpoint.rglob("*") if path.is_file())
    return sorted(path.relative_to(checkpoint).as_posix() for path in files)
