"""Standard streams that may be closed, full, without a reader, or not of UTF-8."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "tinyllava_kit_cli"]


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which $T is the command."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "cli")])
    env = {**os.environ, "T": " ".join(COMMAND), "PYTHONPATH": path, **environment}
    return subprocess.run(["bash", "-c", line], env=env, capture_output=True, timeout=120, check=False)


LOST = {
    ">&-": (2, "error: cannot write to standard output: it is closed; let it go somewhere, if only to /dev/null\n"),
    ">/dev/full": (2, "error: cannot write to standard output: No space left on device; make room, or let it go else"),
    "> >(true)": (141, ""),
    "2>&-": (0, ""),
    "2>/dev/full": (0, ""),
    "<&- 2>&-": (0, ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("where", LOST)
def test_a_stream_that_takes_nothing_is_one_line_and_a_code(where: str) -> None:
    code, said = LOST[where]
    source = "from tinyllava_kit_cli import app; app._run = lambda args: print('x' * 100_000) or 0; app.main([])"
    done = shell(f'sleep 0; {sys.executable} -c "import time; time.sleep(0.3); {source}" {where}')
    assert done.returncode == code, done.stderr
    assert done.stderr.decode().startswith(said)
    assert done.stderr.count(b"\n") == bool(said)


@pytest.mark.slow
def test_help_and_machine_output_fail_as_others_do() -> None:
    for words in ("--help", "list --json", "ask --help"):
        done = shell(f"$T {words} >/dev/full")
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)


@pytest.mark.slow
def test_a_stream_that_is_not_utf8_gets_escapes() -> None:
    source = "from tinyllava_kit_cli import app; app._run = lambda args: print('é 中') or 0; app.main([])"
    done = shell(f'{sys.executable} -c "{source}"', PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\\xe9 \\u4e2d\n", b"")
