"""A run that is told to stop writes a checkpoint behind its step and says how to go on; lost readers are one line."""

from __future__ import annotations

import os
import re
import signal

import pytest

from tests import toys
from tests.processes import run
from tests.training.runs import write_recipe
from tinyllava_kit import KitError
from tinyllava_kit.training.loop import trainer
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe
from tinyllava_kit_cli.app import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopping")
    toys.save_picture_model(folder)
    toys.picture_rows(folder, 5)
    return folder


@pytest.fixture(scope="module")
def unbroken(place):
    return weights(run_recipe(Recipe.from_yaml(recipe(place, "unbroken"))))


def recipe(place, name, **stage):
    stage = {"train": {"connector.image": "full"}, "batch_size": 2, "max_steps": 5, "logging_steps": 1, **stage}
    return write_recipe(place, name, {"data": str(place / "rows.json"), **stage})


def weights(directory):
    return (directory / "model.safetensors").read_bytes()


@pytest.fixture
def in_step(monkeypatch):
    """Lets something happen in the step behind so many."""

    def patch(steps, happen):
        def step(self, *args, **kwargs):
            if self.state.global_step == steps:
                happen()
            return keep(self, *args, **kwargs)

        keep = trainer.KitTrainer.training_step
        monkeypatch.setattr(trainer.KitTrainer, "training_step", step)

    return patch


def send(*numbers):
    return lambda: [os.kill(os.getpid(), number) for number in numbers]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_behind_its_step_and_it_goes_on_exactly(
    place, unbroken, in_step, monkeypatch, capfd, number, code
):
    path, before = recipe(place, f"stopped by {code}"), signal.getsignal(number)
    with monkeypatch.context():
        in_step(2, send(number))
        with pytest.raises(SystemExit) as ended:
            main(["train", str(path)])
    monkeypatch.undo()
    assert ended.value.code == code
    said = capfd.readouterr().err.splitlines()
    assert said[-1] == "stopped at step 3; the same command resumes from step 3"
    assert "stopping at the end of this step; once more ends at once" in said
    assert signal.getsignal(number) == before
    assert [each.name for each in place.glob(f"stopped by {code}/s/checkpoints/checkpoint-*")] == ["checkpoint-3"]
    assert weights(run_recipe(Recipe.from_yaml(path))) == unbroken


def test_a_second_signal_ends_at_once(place, in_step):
    path = recipe(place, "at once")
    in_step(2, send(signal.SIGINT, signal.SIGINT))
    with pytest.raises(SystemExit) as ended:
        main(["train", str(path)])
    assert ended.value.code == 130
    assert not list((place / "at once" / "s" / "checkpoints").glob("checkpoint-*"))
    with pytest.raises(KeyboardInterrupt):  # the signal is as it was before
        os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_in_the_last_step_lets_the_stage_end(place, unbroken, in_step):
    in_step(4, send(signal.SIGTERM))
    assert weights(run_recipe(Recipe.from_yaml(recipe(place, "last")))) == unbroken


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


def test_a_second_run_of_a_stage_is_refused_while_the_first_is_at_it(place, in_step):
    path, said = recipe(place, "twice", max_steps=2), []

    def again():
        with pytest.raises(KitError, match=rf"stage 's': process {os.getpid()} on .* is writing '.*twice/s' already"):
            run_recipe(Recipe.from_yaml(path))
        said.append("refused")

    in_step(1, again)
    run_recipe(Recipe.from_yaml(path))
    assert said == ["refused"]
    assert [each.name for each in (place / "twice").iterdir()] == ["s"]


def test_what_a_killed_stage_left_beside_goes_when_it_goes_on(place):
    left = place / "left" / ".s.unfinished-abcdefgh"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    run_recipe(Recipe.from_yaml(recipe(place, "left", max_steps=1)))
    assert [each.name for each in (place / "left").iterdir()] == ["s"]


def test_a_place_that_cannot_be_written_is_told_before_a_model_is_loaded(place, monkeypatch):
    path = recipe(place, "readonly")
    path.write_text(path.read_text().replace(str(place / "readonly"), "/proc/none"))
    monkeypatch.setattr(
        "tinyllava_kit.training.preparation.load_pretrained", lambda *_, **__: pytest.fail("it was loaded")
    )
    with pytest.raises(KitError, match=r"stage 's': cannot write to '/proc/none/s': .*; choose a place that can be"):
        run_recipe(Recipe.from_yaml(path))


@pytest.mark.parametrize("name", ["stage.json", "cached.json", "bf16.json"])
@pytest.mark.parametrize("content", ["", "[", "3"])
def test_small_files_that_are_damaged_say_what_to_remove(place, name, content):
    path = recipe(place, "small", cache_features="auto", bf16="auto")
    file = place / "small" / "s" / "checkpoints" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    try:
        with pytest.raises(KitError, match=rf"stage 's': '{file}' is damaged.*; remove '{file.parent}' to start again"):
            run_recipe(Recipe.from_yaml(path))
    finally:
        file.unlink()
