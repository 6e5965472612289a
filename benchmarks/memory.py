"""Where large tensors get their memory from, as told to glibc's allocator.

Memory is kept in the process or comes from the kernel anew, as pages of zeros, which costs several times what copying
does. By itself glibc changes its mind as a program runs, and a ratio then says who happened to pay for the pages.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

# The parameters of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_NEVER = -1

WAYS: Mapping[str, Mapping[int, int]] = {
    # Where glibc's own rules arrive once large blocks have been freed: what has 32 MiB or more comes anew.
    "settled": {_MMAP_THRESHOLD: 32 * 2**20, _TRIM_THRESHOLD: _NEVER},
    # Nothing comes anew, as with the allocator of a GPU.
    "kept": {_MMAP_MAX: 0, _TRIM_THRESHOLD: _NEVER},
    # All but small tensors come anew.
    "fresh": {_MMAP_THRESHOLD: 2**20},
}


def take(way: str) -> None:
    """For the rest of the process; without effect where the C library is not glibc."""
    for name, value in WAYS[way].items():
        _set(name, value)


def _set(name: int, value: int) -> None:
    found = getattr(ctypes.CDLL(None), "mallopt", None)
    if found is not None:
        found(name, value)
