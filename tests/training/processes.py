"""A recipe run by several processes on this machine, as ``torchrun`` starts them."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from tests import processes
from tests.processes import Started

ROOT = Path(__file__).parents[2]


def start(words: list[str], *, ranks: int = 2) -> list[Started]:
    """``python WORDS`` in each of several processes that find one another."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    together = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    return [
        processes.start(words, env={**together, "RANK": str(rank), "LOCAL_RANK": str(rank)}, cwd=ROOT)
        for rank in range(ranks)
    ]


def finish(started: list[Started], *, seconds: float = 900) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each; where one hangs, all are killed and the test fails."""
    try:
        return [each.end(seconds) for each in started]
    finally:
        for each in started:
            each.send(signal.SIGKILL)
