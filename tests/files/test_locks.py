"""One process writes a directory; a killed one does not keep the others from it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tinyllava_kit import KitError
from tinyllava_kit.files import locks
from tinyllava_kit.files.locks import only_writer

HOLD = """
import sys, time
from tinyllava_kit.files.locks import only_writer
with only_writer(sys.argv[1]):
    print("here", flush=True)
    time.sleep(600)
"""
# As a process that trains does: one that reads data is started by it, and outlives its kill for a moment.
HOLD_WITH_CHILD = HOLD.replace("    print", "    import os\n    os.fork() or time.sleep(3) or os._exit(0)\n    print")


def holding(target, script=HOLD):
    process = subprocess.Popen([sys.executable, "-c", script, str(target)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "here\n"
    return process


def enter(target):
    with only_writer(target):
        pass


def test_a_second_process_is_refused_with_the_firsts_number(tmp_path):
    with holding(tmp_path / "out") as process:
        try:
            for target in (tmp_path / "out", tmp_path / "." / "out"):
                with pytest.raises(KitError, match=rf"process {process.pid} on .* is writing '.*out' already; wait"):
                    enter(target)
            enter(tmp_path / "other")
        finally:
            process.terminate()


@pytest.mark.parametrize("script", [HOLD, HOLD_WITH_CHILD])
def test_a_killed_process_holds_nothing(tmp_path, script):
    with holding(tmp_path / "out", script) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        enter(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_leaves_nothing(tmp_path):
    target = tmp_path / "new" / "out"
    with only_writer(target):
        assert sorted(path.name for path in target.parent.iterdir()) == [".out.lock", ".out.running.json"]
    assert list(tmp_path.iterdir()) == []
    with only_writer(target):
        target.mkdir()
    assert list(target.parent.iterdir()) == [target]


def test_a_mount_point_holds_its_own_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path)
    with only_writer(tmp_path):
        assert sorted(each.name.removeprefix(f".{tmp_path.name}") for each in tmp_path.iterdir()) == [
            ".lock",
            ".running.json",
        ]
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_did_not_note_itself_is_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "write_json", lambda *_: None)
    with only_writer(tmp_path / "out"), pytest.raises(KitError, match=r"another process is writing"):
        enter(tmp_path / "out")


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(KitError, match=r"cannot write to '/proc/none/out': .*; choose a place that can be written to"):
        enter("/proc/none/out")
