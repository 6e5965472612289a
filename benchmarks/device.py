"""The device that something is measured on: its clock, and where the host waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from tinyllava_kit.testing.no_sync import NoSync


def clock_of(device: torch.device) -> Callable[[], float]:
    """Seconds of wall time when all that was started on the device is done; of the CPU, of its own time."""
    if device.type != "cuda":
        return time.process_time

    def now() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


@contextmanager
def without_sync(device: torch.device, *, but: nn.Module | None = None) -> Iterator[None]:
    """Fails where the host waits for the device, unless it is within a call of `but`.

    On a GPU torch itself says so; on the CPU the operators are looked at that would make a GPU's host wait.
    """
    with ExitStack() as stack:
        pause = _pause_of_torch if device.type == "cuda" else stack.enter_context(NoSync()).pause
        if but is not None:
            stack.callback(but.register_forward_pre_hook(lambda *_: pause(True)).remove)
            stack.callback(but.register_forward_hook(lambda *_: pause(False)).remove)
        stack.callback(pause, True)
        pause(False)
        yield


def _pause_of_torch(paused: bool) -> None:
    torch.cuda.set_sync_debug_mode("default" if paused else "error")


def first_device() -> torch.device | None:
    """The first CUDA device; None where torch finds none."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else None
