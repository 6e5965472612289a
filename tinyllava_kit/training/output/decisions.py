"""What a stage measures when it begins and must not measure again: a run that resumes takes the same way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...distributed import from_first, on_first
from ...errors import KitError
from ...files.writing import write_json

DECISIONS = ("cached", "bf16")  # of decisions, each in a file of its own beside the checkpoints


def decided(checkpoints: Path, kind: str, decide: Callable[[], bool]) -> bool:
    """What was decided when the stage began; or what `decide` says now, in the first process, kept for later.

    Raises:
        KitError: the file of an earlier decision is damaged.
    """
    file = _file(checkpoints, kind)
    kept = from_first(on_first(lambda: _read(file)))  # one process looks: the others may come when it has written
    if kept is not None:
        return kept
    decision = from_first(decide())
    on_first(lambda: write_json(file, decision))
    return decision


def forget_decisions(checkpoints: Path) -> None:
    """Remove all decisions of a stage that has no checkpoint."""
    for kind in DECISIONS:
        _file(checkpoints, kind).unlink(missing_ok=True)


def _read(file: Path) -> bool | None:
    """What a file says; None where there is none."""
    if not file.exists():
        return None
    try:
        return {"true": True, "false": False}[file.read_text(encoding="utf-8").strip()]
    except (ValueError, KeyError) as error:
        raise KitError(f"{str(file)!r} is damaged; remove {str(file.parent)!r} to start again") from error


def _file(checkpoints: Path, kind: str) -> Path:
    return checkpoints / f"{kind}.json"
