"""A process that reads data and is killed is one line for the user."""

from __future__ import annotations

import re

import pytest

from tests.processes import run
from tests.training.runs import write_recipe

pytestmark = pytest.mark.slow


def recipe(place, name, **stage):
    stage = {"train": {"connector.image": "full"}, "batch_size": 2, "max_steps": 5, "logging_steps": 1, **stage}
    return write_recipe(place, name, {"data": str(place / "rows.json"), **stage})


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


def test_a_killed_reader_of_data_is_one_line(place):
    path = recipe(place, "reader", batch_size=1, workers=1, save_steps=1)
    ended = run(["-c", KILLED_READER, str(path)])
    said = r"a process that reads data(, \d+,)? was killed.*use fewer workers than 1.*goes on from checkpoint-\d"
    assert ended.returncode == 2
    assert re.search(said, ended.stderr.splitlines()[-1])
    assert "Traceback" not in ended.stderr
