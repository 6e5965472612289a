"""Python in a process of its own, without the seconds that its imports take: one that has them forks each.

`multiprocessing`'s fork server is started once for all tests and imports what a command of the kit does. A process of
it finds plugins, opens files, trains and dies as one that was started anew; where imports or the start of Python
themselves are what is tested, a test starts Python.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

IMPORTED = [
    "torch.distributed.fsdp",
    "transformers.models.clip.image_processing_clip",
    "transformers.models.clip.modeling_clip",
    "transformers.models.llama.modeling_llama",
    "tinyllava_kit.training.run",
    "tinyllava_kit_cli.app",
]


class Started:
    """``python WORDS``, and what it has said so far."""

    def __init__(self, words: list[str], env: dict[str, str], cwd: Path, first: Callable[[], None] | None) -> None:
        self._folder = tempfile.TemporaryDirectory()
        out, err = (Path(self._folder.name, name) for name in ("out", "err"))
        self._out, self._err = out, err
        for file in (out, err):
            file.touch()
        self._process = _server().Process(target=_become, args=(words, env, cwd, out, err, first), daemon=True)
        self._process.start()

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        self.send(signal.SIGKILL)

    @property
    def said(self) -> str:
        return self._out.read_text()

    @property
    def errors(self) -> str:
        return self._err.read_text()

    @property
    def returncode(self) -> int | None:
        """As `subprocess` tells it; None while it runs."""
        return self._process.exitcode

    def until(self, there: Callable[[], bool]) -> None:
        """Wait for something to be there; a process that ends before it is a failure."""
        while not there():
            assert self.returncode is None, f"ended with {self.returncode}: {self.errors}"
            time.sleep(0.001)

    def send(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self._process.pid, number)

    def end(self, seconds: float = 300) -> tuple[int, str, str]:
        """Its exit code, output and errors; one that does not end is killed, and a failure."""
        self._process.join(seconds)
        hangs = self.returncode is None
        self.send(signal.SIGKILL)
        self._process.join()
        found = (self.returncode, self.said, self.errors)
        self._folder.cleanup()
        assert not hangs, found
        return found


def start(
    words: list[str],
    *,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    first: Callable[[], None] | None = None,
) -> Started:
    """``python WORDS``, of the kinds ``-m MODULE ...`` and ``-c CODE ...``; `first` is called in it before all else."""
    return Started(words, {**os.environ, **(env or {})}, cwd or Path.cwd(), first)


def run(words: list[str], *, seconds: float = 300, **how) -> subprocess.CompletedProcess[str]:
    """The same, when it has ended."""
    return subprocess.CompletedProcess(words, *start(words, **how).end(seconds))


def tinyllava(*words: object, **how) -> subprocess.CompletedProcess[str]:
    """``tinyllava WORDS``."""
    return run(["-m", "tinyllava_kit_cli", *map(str, words)], **how)


def _server() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with mock.patch.dict(os.environ, OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1"):
        forkserver.ensure_running()  # it is not, yet or any more
    return context


def _become(
    words: list[str], env: dict[str, str], cwd: Path, out: Path, err: Path, first: Callable[[], None] | None
) -> None:
    multiprocessing.current_process().daemon = False  # it may have processes of its own; it ends with the tests
    for number, file in ((1, out), (2, err)):
        with file.open("wb") as stream:
            os.dup2(stream.fileno(), number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[:0] = [str(cwd), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    if first is not None:
        first()
    kind, what, *rest = words
    try:
        if kind == "-m":
            sys.argv = [what, *rest]
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            sys.argv = [kind, *rest]
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    finally:
        atexit._run_exitfuncs()  # which the fork server leaves out
