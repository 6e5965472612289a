"""Processes that read data and are lost: killed, most often because memory has ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import KitError
from ..output.checkpoints import last_checkpoint

_LOST = re.compile(r"DataLoader worker \(pid\D*(\d+).*?(?:killed by signal: ([\w ]+)|exited unexpectedly)", re.DOTALL)


def is_lost_worker(error: BaseException) -> bool:
    """Whether torch tells of one, which it does wherever the process is just then."""
    return isinstance(error, RuntimeError) and _LOST.search(str(error)) is not None


@contextmanager
def one_line_for_lost_workers(checkpoints: Path, workers: int) -> Iterator[None]:
    """Where torch tells that one is lost.

    Args:
        checkpoints: of the stage. `workers`: how many it has.

    Raises:
        KitError: in place of torch's error; says where the run will resume.
    """
    try:
        yield
    except (RuntimeError, ConnectionError) as error:
        lost = _LOST.search(f"{error} {error.__context__} {error.__cause__}")
        broken = isinstance(error, ConnectionError) and workers > 0  # a pipe to it may break before torch tells
        if lost is None and not broken:
            raise
        raise KitError(_message(lost, workers, last_checkpoint(checkpoints))) from error


def _message(lost: re.Match[str] | None, workers: int, last: Path | None) -> str:
    which = "" if lost is None else f", {lost[1]},"
    how = f" ({lost[2].strip()})" if lost is not None and lost[2] else ""
    return (
        f"a process that reads data{which} was killed{how}: most often because memory has ended; use fewer workers "
        f"than {workers}, or give more memory (in a container also /dev/shm); the same command goes on from "
        f"{last.name if last else 'the beginning'}"
    )
