"""A recipe run by several processes on this machine, as ``torchrun`` starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(words: list[str], *, ranks: int = 2) -> list[subprocess.Popen[str]]:
    """``python WORDS`` in each of several processes that find one another."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    together = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, *words],
            env={**os.environ, **together, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for rank in range(ranks)
    ]


def finish(processes: list[subprocess.Popen[str]], *, seconds: float = 900) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each; where one hangs, all are killed and the test fails."""
    found = []
    try:
        for process in processes:
            said, errors = process.communicate(timeout=seconds)
            found.append((process.returncode, said, errors))
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return found
