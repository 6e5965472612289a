"""A process of its own for a measurement, and the memory that it holds."""

from __future__ import annotations

import multiprocessing
import os
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any


def call(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a process of its own, started anew."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *args).result()


def memory() -> dict[str, int]:
    """This process's memory by the kernel's names, in bytes.

    `VmHWM` is the most that was resident so far. Not `ru_maxrss`, which a process inherits from the one that started
    it.
    """
    status = Path("/proc/self/status").read_text()
    return {name: int(size) * 1024 for name, size in re.findall(r"^(\w+):\s+(\d+) kB$", status, re.MULTILINE)}


def read_anew(*files: Path) -> None:
    """Read files from the disk in one go, so that the kernel caches all of them in pages of the same size.

    How a file came into its cache decides how many page faults it costs to read it through a mapping.
    """
    for file in files:
        opened = os.open(file, os.O_RDONLY)
        os.fsync(opened)
        os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
        while os.read(opened, 2**24):
            pass
        os.close(opened)


def forget_peak() -> None:
    """Reset `VmHWM` to the memory that is resident now."""
    Path("/proc/self/clear_refs").write_text("5")
