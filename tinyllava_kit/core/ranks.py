"""The processes of a distributed run: which one this is, waiting for the others, saying a thing once.

Every function works in a run of one process, too, where there is nobody to wait for.
"""

from __future__ import annotations

import os
from typing import TypeVar

import torch

T = TypeVar("T")


def rank() -> int:
    """The number of this process, from 0; as the launcher (``torchrun``, ``accelerate launch``) gave it."""
    return torch.distributed.get_rank() if _is_joined() else int(os.environ.get("RANK", 0))


def world_size() -> int:
    """How many processes the run has."""
    return torch.distributed.get_world_size() if _is_joined() else int(os.environ.get("WORLD_SIZE", 1))


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


def from_all(value: T) -> list[T]:
    """What each rank gives, in order, on every rank."""
    if not _is_joined():
        return [value]
    found: list[T] = [value] * world_size()
    torch.distributed.all_gather_object(found, value)
    return found


def say(text: str) -> None:
    """Print on rank 0."""
    if rank() == 0:
        print(text)


def _is_joined() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
