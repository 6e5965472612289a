"""A run that is told to stop writes a checkpoint behind its step and says how to go on; lost readers are one line."""

from __future__ import annotations

import os
import signal

import pytest

from tests import toys
from tests.training.runs import write_short_recipe
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
    return weights(run_recipe(Recipe.from_yaml(write_short_recipe(place, "unbroken"))))


def weights(directory):
    return (directory / "model.safetensors").read_bytes()


def send(*numbers):
    return lambda: [os.kill(os.getpid(), number) for number in numbers]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_behind_its_step_and_it_goes_on_exactly(
    place, unbroken, in_step, monkeypatch, capfd, number, code
):
    path, before = write_short_recipe(place, f"stopped by {code}"), signal.getsignal(number)
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
    path = write_short_recipe(place, "at once")
    in_step(2, send(signal.SIGINT, signal.SIGINT))
    with pytest.raises(SystemExit) as ended:
        main(["train", str(path)])
    assert ended.value.code == 130
    assert not list((place / "at once" / "s" / "checkpoints").glob("checkpoint-*"))
    with pytest.raises(KeyboardInterrupt):  # the signal is as it was before
        os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_in_the_last_step_lets_the_stage_end(place, unbroken, in_step):
    in_step(4, send(signal.SIGTERM))
    assert weights(run_recipe(Recipe.from_yaml(write_short_recipe(place, "last")))) == unbroken
