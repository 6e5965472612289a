"""Trials: calls made in a child process, so that what crashes or hangs there is a line here.

A plugin that segfaults, calls ``os._exit`` or never returns takes its process with it; nothing inside
that process can report it.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import IO

# The child looks for modules where we do, whatever was added to sys.path since the start.
_BOOT = (
    "import json, sys; job = json.load(sys.stdin); sys.path[:] = job['path']; "
    "from tinyllava_kit.plugin.child_process import serve; serve(job['function'], job['items'])"
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a trial went: `error` in one line, or nothing; `died` where it took the process with it.

    `fix` is what to do about the error, `heavy` are the large packages that it imported, `facts` what it found out.
    """

    error: str = ""
    fix: str = ""
    died: bool = False
    heavy: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def run_trials(
    function: Callable[..., Outcome], items: Sequence[tuple[str, ...]], *, limit_s: float
) -> Iterator[Outcome]:
    """``function(*item)`` for each item, in a child process; the outcomes in order.

    One child serves all; a new one takes over where the last died, or has imported what would hide the
    same import of the next item.

    Args:
        function: a function at the top of a module; it catches what it calls.
        items: texts only.
        limit_s: seconds for each item, the start of a child included.
    """
    waiting = list(items)
    while waiting:
        with _start(function, waiting) as child:
            assert child.stdout is not None
            try:
                while waiting:
                    outcome = _read(child, child.stdout, limit_s)
                    del waiting[0]
                    yield outcome
                    if outcome.died or outcome.heavy:
                        break
            finally:
                child.kill()


def serve(function: str, items: Sequence[Sequence[str]]) -> None:
    """The child's side: one line of JSON an item on what was stdout; what plugins print goes elsewhere."""
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, _, name = function.partition(":")
    call = getattr(importlib.import_module(module), name)
    for item in items:
        print(json.dumps(asdict(call(*item))), file=results, flush=True)


def _start(function: Callable[..., Outcome], items: Sequence[tuple[str, ...]]) -> subprocess.Popen[str]:
    job = {"path": sys.path, "function": f"{function.__module__}:{function.__qualname__}", "items": items}
    child = subprocess.Popen(
        [sys.executable, "-c", _BOOT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdin is not None
    with child.stdin as pipe:
        json.dump(job, pipe)
    return child


def _read(child: subprocess.Popen[str], results: IO[str], limit_s: float) -> Outcome:
    timer = threading.Timer(limit_s, child.kill)
    timer.start()
    line = results.readline()
    in_time = timer.is_alive()
    timer.cancel()
    if line:
        found = json.loads(line)
        return Outcome(**{**found, "heavy": tuple(found["heavy"])})
    code = child.wait()
    if not in_time:
        return Outcome(error=f"did not return within {limit_s:g} s", died=True)
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return Outcome(error=f"ends the Python process ({how})", died=True)
