"""A process that reads data and is killed is one line for the user."""

from __future__ import annotations

import re

import pytest

from tests.processes import run
from tests.training.runs import write_short_recipe
from tinyllava_kit import KitError
from tinyllava_kit.training.loop.lost_workers import is_lost_worker, one_line_for_lost_workers

# torch raises wherever the process is when it hears that a reader died, so the process is not that of the tests.
KILLED_READER = """
import multiprocessing, os, signal, sys
from tinyllava_kit.training.loop.trainer import KitTrainer
from tinyllava_kit_cli.app import main

def step(self, *args, **kwargs):
    if self.state.global_step == 1:  # the reader has rows of this epoch still to read
        for process in multiprocessing.active_children():
            os.kill(process.pid, signal.SIGKILL)
    return keep(self, *args, **kwargs)

keep, KitTrainer.training_step = KitTrainer.training_step, step
main(["train", sys.argv[1]])
"""


@pytest.mark.slow
def test_a_killed_reader_of_data_is_one_line(place):
    path = write_short_recipe(place, "reader", batch_size=1, workers=1, save_steps=1)
    ended = run(["-c", KILLED_READER, str(path)])
    said = r"a process that reads data(, \d+,)? was killed.*use fewer workers than 1.*goes on from checkpoint-\d"
    assert ended.returncode == 2
    assert re.search(said, ended.stderr.splitlines()[-1])
    assert "Traceback" not in ended.stderr


TOLD = {  # by torch
    "DataLoader worker (pid 41) is killed by signal: Killed. ": r"data, 41, was killed \(Killed\): ",
    "DataLoader worker (pid(s) 41, 42) exited unexpectedly": r"data, 41, was killed: ",
}


def lose(message):
    """What it broke comes last."""
    try:
        raise RuntimeError(message)
    except RuntimeError:
        raise ConnectionResetError("reset") from None


@pytest.mark.parametrize("message", TOLD)
def test_what_torch_tells_of_a_lost_process_is_known(tmp_path, message):
    assert is_lost_worker(RuntimeError(message))
    said = f"{TOLD[message]}.*fewer workers than 3.*goes on from the beginning"
    with pytest.raises(KitError, match=said), one_line_for_lost_workers(tmp_path, 3):
        raise RuntimeError(message)
    (tmp_path / "checkpoint-7").mkdir()
    with pytest.raises(KitError, match=r"goes on from checkpoint-7$"), one_line_for_lost_workers(tmp_path, 3):
        lose(message)


def test_a_pipe_that_breaks_is_a_lost_process_where_there_are_any(tmp_path):
    with pytest.raises(KitError, match="a process that reads data was killed"), one_line_for_lost_workers(tmp_path, 1):
        raise BrokenPipeError
    with pytest.raises(BrokenPipeError, match="pipe"), one_line_for_lost_workers(tmp_path, 0):
        raise BrokenPipeError(32, "pipe")


LOST = "DataLoader worker (pid 4) exited unexpectedly"


@pytest.mark.parametrize("error", [RuntimeError("CUDA error"), ValueError(LOST)], ids=["no process", "not from torch"])
def test_other_errors_stay(tmp_path, error):
    assert not is_lost_worker(error)
    with pytest.raises(type(error), match=re.escape(str(error))), one_line_for_lost_workers(tmp_path, 2):
        raise error
