"""A run that is killed, at any moment, goes on as if nothing had happened: the same losses and weights, to the bit."""

from __future__ import annotations

import json
import signal

import pytest
import torch
from safetensors.torch import load_file

from tests import toys
from tests.processes import start
from tests.training.runs import write_recipe
from tinyllava_kit import KitError
from tinyllava_kit.training.batches.epochs import Epochs
from tinyllava_kit.training.batches.sized import SizedBatches
from tinyllava_kit.training.loop import trainer
from tinyllava_kit.training.loop.clock import Clock
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


def recipe(place, name, **stage):
    stage = {
        "data": str(place / "rows.json"),
        "train": {"connector.image": "full", "llm": {"mode": "lora", "lora": {"dropout": 0.3}}},
        "batch_size": 2,
        "epochs": 4,
        "save_steps": 3,
        "logging_steps": 2,
        **stage,
    }
    return write_recipe(place, name, stage)


def curve(directory):
    """What a run logged, but for what depends on the clock."""
    keys = ("step", "loss", "loss_image", "loss_text", "grad_norm", "learning_rate", "fill")
    log = json.loads((directory / "log.json").read_text())
    return [{key: entry[key] for key in keys if key in entry} for entry in log if "loss" in entry]


def same_weights(one, other):
    one, other = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return all(torch.equal(one[name], other[name]) for name in one)


class Killed(Exception):
    pass


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("step", [4, 7])
def test_a_run_that_broke_off_after_a_step_goes_on_exactly(place, monkeypatch, way, step):
    unbroken = place / f"unbroken {way}" / "s"
    if not unbroken.exists():
        run_recipe(Recipe.from_yaml(recipe(place, f"unbroken {way}", epochs=2, **WAYS[way])))
    broken = recipe(place, f"broken {way} {step}", epochs=2, **WAYS[way])

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
    unbroken = run_recipe(Recipe.from_yaml(recipe(place, "whole", save_steps=1)))
    broken = recipe(place, "killed", save_steps=1)
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


def test_what_auto_found_stays_when_a_run_goes_on(place, monkeypatch):
    """Features of the cache and of the tower differ in their last bits: the clock must not choose anew."""
    from tinyllava_kit.training import feature_caching as caching

    path = recipe(place, "auto", max_steps=4, save_steps=2, cache_features="auto")
    answers = iter([True, False])
    monkeypatch.setattr(caching, "_wins", lambda *_: next(answers))
    with monkeypatch.context() as patch:
        patch.setattr(trainer.KitTrainer, "_clip_grad_norm", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run_recipe(Recipe.from_yaml(path))
    readers = []
    keep = caching.FeatureCache.fill
    monkeypatch.setattr(caching.FeatureCache, "fill", lambda self, items: readers.append(self) or keep(self, items))
    run_recipe(Recipe.from_yaml(path))
    assert readers
    assert next(answers) is False  # it was not asked again


def test_a_checkpoint_that_could_not_be_written_leaves_the_last_one(place, monkeypatch):
    path = recipe(place, "full disk", max_steps=4, save_steps=2)

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


def test_a_run_that_was_interrupted_does_not_go_on_with_other_settings(place, monkeypatch):
    path = recipe(place, "changed", max_steps=4, save_steps=2)
    with monkeypatch.context() as patch:
        patch.setattr(trainer.KitTrainer, "_save_rng_state", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run_recipe(Recipe.from_yaml(path))
    with pytest.raises(KitError, match=r"was trained with batch_size 2, the recipe has 3; remove the directory"):
        run_recipe(Recipe.from_yaml(recipe(place, "changed", max_steps=4, save_steps=2, batch_size=3)))


def test_epochs_are_one_row_of_batches(place):
    batches = SizedBatches([{}] * 7, list(range(7)), batch_size=2)
    every = Epochs(batches, 2.5)
    drawn = list(every)
    assert len(every) == len(drawn) == 4 + 4 + 2
    first, second = ([i for batch in part for i in batch] for part in (drawn[:4], drawn[4:8]))
    assert sorted(first) == sorted(second) == list(range(7))
    assert first != second
    assert list(every) == drawn


def test_time_before_an_interruption_counts():
    limit = Clock(1)
    limit.start -= 50
    kept = {"Clock": limit.state()}
    again = Clock(1)
    control = trainer.TrainerControl()
    again.on_train_begin(None, trainer.TrainerState(stateful_callbacks=kept), control)
    assert again.share_gone == pytest.approx(50 / 60, abs=0.02)  # which the learning rate follows
    again.on_step_end(None, None, control)
    assert not control.should_training_stop
    again.start -= 15
    again.on_optimizer_step(None, None, control)
    again.on_step_end(None, None, control)
    assert control.should_training_stop
