"""The command line in a process with little room."""

from __future__ import annotations

import functools
import resource
import signal
import subprocess

from tests.processes import tinyllava

FULL_DISK = "(File too large|No space left)"


def limit_files(num_bytes: int) -> None:
    """From now on, no file of this process may be larger: what a full disk does, for one file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))


def run_limited(*words: str, file_bytes: int) -> subprocess.CompletedProcess[str]:
    """``tinyllava WORDS`` where files are limited."""
    return tinyllava(*words, first=functools.partial(limit_files, file_bytes))
