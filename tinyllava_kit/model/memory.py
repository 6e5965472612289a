"""Memory that a process holds and does not use."""

from __future__ import annotations

import ctypes
import sys


def trim_memory() -> None:
    """Return free memory to the kernel, also from between blocks in use; only with glibc.

    Many large temporaries among small results leave holes, which glibc keeps.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
