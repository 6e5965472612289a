"""The processes of a distributed run: which one this is, waiting for the others, saying a thing once.

Every function works in a run of one process, too, where there is nobody to wait for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch

from .errors import KitError
from .files.printable import printable

T = TypeVar("T")

PEERS_PATIENCE = 5.0  # seconds that a rank waits with its error, for rank 0 to meet the same
_TOLD = "tinyllava_kit/told"
_CUT_OFF = (
    *("Connection closed by peer", "Connection reset by peer", "Connection was likely closed"),
    *("Broken pipe", "NCCL", "Timed out waiting"),
)


def rank() -> int:
    """The number of this process, from 0; as the launcher (``torchrun``, ``accelerate launch``) gave it."""
    return torch.distributed.get_rank() if _is_joined() else int(os.environ.get("RANK", 0))


def world_size() -> int:
    """How many processes the run has."""
    return torch.distributed.get_world_size() if _is_joined() else int(os.environ.get("WORLD_SIZE", 1))


def join() -> None:
    """Meet the other processes, where a launcher has started several; the first thing that each of them does."""
    if world_size() > 1 and not _is_joined():
        from accelerate import PartialState

        PartialState(cpu=not torch.accelerator.is_available())


@contextmanager
def one_telling() -> Iterator[None]:
    """Rank 0 alone reports a mistake that all ranks meet; the report of any other mistake names its rank.

    Raises:
        KitError: the mistake; or another rank has stopped, and this one would have waited for it.
        SystemExit: code 2, on other ranks than 0, which told the same.
    """
    try:
        yield
    except KitError as error:
        if world_size() == 1:
            raise
        if rank() == 0:
            _note(_TOLD)
            raise
        if _is_noted(_TOLD, PEERS_PATIENCE):
            raise SystemExit(2) from error
        raise type(error)(f"rank {rank()}: {error}") from error
    except RuntimeError as error:
        if world_size() == 1 or not any(word in str(error) for word in _CUT_OFF):
            raise
        raise KitError(f"rank {rank()}: another rank has stopped; its own message says why") from error


def wait_for_all() -> None:
    """Returns when every rank has come here."""
    if _is_joined():
        torch.distributed.barrier()


def from_first(value: T) -> T:
    """What rank 0 gives, on every rank."""
    if not _is_joined():
        return value
    box = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def on_first(work: Callable[[], T]) -> T | None:
    """What it returns, on rank 0 alone; None on the others.

    Raises:
        KitError: as rank 0; on every rank.
    """
    result, failed = None, None
    if rank() == 0:
        try:
            result = work()
        except KitError as error:
            failed = error
    failed = from_first(failed)
    if failed is not None:
        raise failed
    return result


def from_all(value: T) -> list[T]:
    """What each rank gives, in order, on every rank."""
    if not _is_joined():
        return [value]
    found: list[T] = [value] * world_size()
    torch.distributed.all_gather_object(found, value)
    return found


def any_rank(number: int, device: torch.device) -> int:
    """The largest of the numbers that the ranks give, on every rank."""
    if not _is_joined():
        return number
    found = torch.tensor(number, device=device)
    torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
    return int(found)


def say(text: str) -> None:
    """Print on rank 0."""
    if rank() == 0:
        print(printable(text))


def _note(what: str) -> None:
    with suppress(Exception):  # the others may be gone
        _store().set(what, "1")


def _is_noted(what: str, seconds: float) -> bool:
    """Whether a rank notes it within so many seconds; also where the process that keeps the notes is gone."""
    try:
        _store().wait([what], timedelta(seconds=seconds))
    except torch.distributed.DistStoreError:
        return False
    except Exception:
        return True
    return True


def _store() -> Any:
    return torch.distributed.distributed_c10d._get_default_store()


def _is_joined() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
