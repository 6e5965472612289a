"""A run that is killed, at any moment, goes on as if nothing had happened: the same losses and weights, to the bit."""

from __future__ import annotations

import json
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file
from transformers.trainer_utils import get_last_checkpoint

from tests import toys
from tests.processes import start
from tests.training.runs import Killed, losses_in, train, write_dropout_recipe
from tinyllava_kit import KitError
from tinyllava_kit.training.loop import trainer
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = pytest.mark.slow

WAYS = {
    "one by one": {},
    "by size": {"group_by_size": True},
    "packed": {"packing": {"length": 120}, "max_length": 120, "batch_size": 1},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    toys.save_picture_model(folder)
    toys.picture_rows(folder, 9)
    return folder


def curve(directory):
    """What a run logged, but for what depends on the clock."""
    keys = ("step", "loss", "loss_image", "loss_text", "grad_norm", "learning_rate", "fill")
    log = json.loads((directory / "log.json").read_text())
    return [{key: entry[key] for key in keys if key in entry} for entry in log if "loss" in entry]


def same_weights(one, other):
    one, other = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("step", [4, 7])
def test_a_run_that_broke_off_after_a_step_goes_on_exactly(place, monkeypatch, way, step):
    unbroken = place / f"unbroken {way}" / "s"
    if not unbroken.exists():
        run_recipe(Recipe.from_yaml(write_dropout_recipe(place, f"unbroken {way}", epochs=2, **WAYS[way])))
    broken = write_dropout_recipe(place, f"broken {way} {step}", epochs=2, **WAYS[way])

    def clip(self, model):
        if self.state.global_step == step:
            raise Killed
        return keep(self, model)

    keep = trainer.KitTrainer._clip_grad_norm
    with monkeypatch.context() as patch:
        patch.setattr(trainer.KitTrainer, "_clip_grad_norm", clip)
        with pytest.raises(Killed):
            run_recipe(Recipe.from_yaml(broken))
    resumed = run_recipe(Recipe.from_yaml(broken))
    assert curve(resumed) == curve(unbroken)
    assert same_weights(resumed, unbroken)


def test_kill_9_at_any_moment(place):
    """The command itself, killed by the system: while it trains, while it writes a checkpoint, while it starts."""
    unbroken = run_recipe(Recipe.from_yaml(write_dropout_recipe(place, "whole", save_steps=1)))
    broken = write_dropout_recipe(place, "killed", save_steps=1)
    checkpoints = place / "killed" / "s" / "checkpoints"
    for wanted in ("checkpoint-2", f"{trainer.UNFINISHED}/checkpoint-5", "checkpoint-9"):
        _run_until(broken, checkpoints / wanted)
    assert not (place / "killed" / "s" / "config.json").exists()
    resumed = run_recipe(Recipe.from_yaml(broken))
    assert curve(resumed) == curve(unbroken)
    assert same_weights(resumed, unbroken)
    assert [path.name for path in sorted(checkpoints.iterdir())] == ["checkpoint-20", "stage.json"]


def _run_until(recipe_file, path):
    """Start ``tinyllava train`` and kill it, by SIGKILL, as soon as a path is there."""
    process = start(["-m", "tinyllava_kit_cli", "train", str(recipe_file)])
    process.until(path.exists)
    process.send(signal.SIGKILL)
    process.end()


def test_a_checkpoint_that_could_not_be_written_leaves_the_last_one(place, monkeypatch):
    path = write_dropout_recipe(place, "full disk", max_steps=4, save_steps=2)

    def save(self, *args, **kwargs):
        if self.state.global_step == 4:
            raise OSError(28, "No space left on device")
        return keep(self, *args, **kwargs)

    keep = trainer.KitTrainer._save_rng_state
    with monkeypatch.context() as patch:
        patch.setattr(trainer.KitTrainer, "_save_rng_state", save)
        with pytest.raises(KitError, match=r"checkpoint-4.*No space left on device.*checkpoint-2"):
            run_recipe(Recipe.from_yaml(path))
    assert (place / "full disk/s/checkpoints/checkpoint-2/trainer_state.json").exists()
    run_recipe(Recipe.from_yaml(path))


def test_an_interrupted_stage_goes_on_where_it_was(place):
    whole = train(place, "uncut", max_steps=6, save_steps=3)
    shutil.copytree(place / "uncut", place / "cut")
    for file in (place / "cut" / "s").iterdir():
        if file.is_file():
            file.unlink()
    checkpoints = place / "cut" / "s" / "checkpoints"
    shutil.rmtree(get_last_checkpoint(str(checkpoints)))
    shutil.copytree(_checkpoint_of_step(place, 3), checkpoints / "checkpoint-3")
    resumed = train(place, "cut", max_steps=6, save_steps=3)
    assert losses_in(resumed)[3:] == losses_in(whole)[3:]


def _checkpoint_of_step(place, step):
    """A run that was stopped there; the recipe, and so the rates, are those of the whole one."""
    from tinyllava_kit.training.loop.trainer import KitTrainer

    stopped = place / "stopped"
    keep = KitTrainer.train

    def stop(self, *args, **kwargs):
        from transformers import TrainerCallback

        class Stop(TrainerCallback):
            def on_save(self, args, state, control, **kwargs):
                control.should_training_stop = True

        self.add_callback(Stop())
        return keep(self, *args, **kwargs)

    KitTrainer.train = stop
    try:
        train(place, "stopped", max_steps=6, save_steps=step)
    finally:
        KitTrainer.train = keep
    return stopped / "s" / "checkpoints" / f"checkpoint-{step}"
