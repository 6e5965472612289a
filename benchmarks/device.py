"""The device that something is measured on: its clock, and where the host waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

READS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal.default")  # make a GPU's host wait


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
        switch: Callable[[str], None] = torch.cuda.set_sync_debug_mode
        if device.type != "cuda":
            switch = stack.enter_context(_Reads()).switch
        if but is not None:
            stack.callback(but.register_forward_pre_hook(lambda *_: switch("default")).remove)
            stack.callback(but.register_forward_hook(lambda *_: switch("error")).remove)
        stack.callback(switch, "default")
        switch("error")
        yield


class _Reads(TorchDispatchMode):
    """Fails on operators that read a tensor's numbers, where it is switched to ``error``."""

    def __init__(self) -> None:
        super().__init__()
        self.mode = "default"

    def switch(self, mode: str) -> None:
        self.mode = mode

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.mode == "error" and any(name in str(func) for name in READS):
            raise RuntimeError(f"{func} reads back from the device")
        return func(*args, **(kwargs or {}))


def first_device() -> torch.device | None:
    """The first CUDA device; None where torch finds none."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else None
