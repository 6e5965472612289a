"""One process at a time writes a directory. Light."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import KitError
from .writing import beside, write_json

PATIENCE = 30.0  # seconds for the children of a process that was killed to end; they share its lock


@contextmanager
def only_writer(target: str | os.PathLike[str]) -> Iterator[None]:
    """While the block runs, this process alone writes `target`; the operating system ends the lock with the process.

    The lock is the file ``.NAME.lock`` beside it, so that `target` itself may be replaced; a mount point holds its own.

    Raises:
        KitError: another process writes it, and which; or the folder cannot be written to.
    """
    target = Path(os.path.realpath(target))
    folder = beside(target)
    holder = folder / f".{target.name}.running.json"
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{target.name}.lock")
        _acquire(lock, holder, target)
    except OSError as error:
        raise KitError(
            f"cannot write to {str(target)!r}: {error.strerror or error}; choose a place that can be written to"
        ) from error
    try:
        write_json(holder, {"process": os.getpid(), "host": socket.gethostname()})
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
            Path(lock.lock_file).unlink(missing_ok=True)  # while it is held: the next makes a new one
            if is_new:
                folder.rmdir()  # which refuses one that is not empty
        lock.release()


def _acquire(lock: FileLock, holder: Path, target: Path) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        by = _read(holder)
        try:
            lock.acquire(timeout=PATIENCE if _is_gone(by) else 0)
        except Timeout:
            who = f"process {by['process']} on {by['host']}" if by else "another process"
            raise KitError(
                f"{who} is writing {str(target)!r} already; wait for it, stop it, or choose another output"
            ) from None


def _read(holder: Path) -> dict[str, Any]:
    try:
        found = json.loads(holder.read_text(encoding="utf-8"))
        return {"process": int(found["process"]), "host": str(found["host"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _is_gone(by: dict[str, Any]) -> bool:
    """Whether the process that has noted itself was killed: on this machine, where that can be seen."""
    if by.get("host") != socket.gethostname():
        return False
    try:
        os.kill(by["process"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
