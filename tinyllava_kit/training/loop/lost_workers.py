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
        KitError: in place of torch's error; says from where the run goes on.
    """
    try:
        yield
    except (RuntimeError, ConnectionError) as error:  # a pipe to it may break before torch tells
        lost = _LOST.search(f"{error} {error.__context__} {error.__cause__}")
        if lost is None:
            raise
        last = last_checkpoint(checkpoints)
        raise KitError(
            f"a process that reads data, {lost[1]}, was killed{f' ({lost[2].strip()})' if lost[2] else ''}: most often "
            f"because memory has ended; use fewer workers than {workers}, or give more memory (in a container also "
            f"/dev/shm); the same command goes on from {last.name if last else 'the beginning'}"
        ) from error
