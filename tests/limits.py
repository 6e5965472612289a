"""The command line in a process with little room."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys

FULL_DISK = "(File too large|No space left)"


def run_limited(*words: str, file_bytes: int) -> subprocess.CompletedProcess[str]:
    """``tinyllava WORDS`` where no file may be larger than so many bytes: what a full disk does, for one file."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    command = [sys.executable, "-m", "tinyllava_kit_cli", *words]
    return subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False)
