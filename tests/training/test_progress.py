"""What a stage says of itself: losses by kind of sample, tokens, fill, time left."""

from __future__ import annotations

import importlib.util
import io
import json

import pytest
import torch
from tensorboard.backend.event_processing import event_accumulator
from transformers import TrainerState

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.core.fusion import ItemSpan, TextSpan, plan
from tinyllava_kit.training.clock import Clock
from tinyllava_kit.training.meter import Meter, kinds_of
from tinyllava_kit.training.progress import Progress, progress_line
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

LEARNED = TextSpan([1, 2], labels=[-100, 2])
SAMPLES = [
    [LEARNED],
    [ItemSpan("image", 3), LEARNED, LEARNED],
    [ItemSpan("image", 1), ItemSpan("audio", 1), LEARNED],
    [LEARNED],
]


def test_losses_are_averaged_by_what_their_sample_holds():
    layout = plan(SAMPLES, packs=[2, 2])
    assert kinds_of(layout) == ["text", "image", "audio+image", "text"]
    meter = Meter()
    for _ in range(2):
        meter.add(layout, torch.tensor([1.0, 2.0, 4.0, 5.0, 7.0]))
    taken = meter.take()
    assert {key: taken[key] for key in taken if key.startswith("loss")} == {
        "loss_text": 4.0,
        "loss_image": 3.0,
        "loss_audio+image": 5.0,
    }
    assert taken["fill"] == pytest.approx((2 + 7 + 4 + 2) / (2 * 9))
    assert taken["tokens_per_second"] > 0
    assert meter.take() == {}


def test_one_kind_of_sample_has_no_line_of_its_own():
    meter = Meter()
    meter.add(plan(SAMPLES[:1]), torch.tensor([1.0]))
    assert set(meter.take()) == {"tokens_per_second", "fill"}


def test_a_line_says_where_the_stage_is():
    logs = {"loss": 0.4123, "loss_image": 0.3811, "loss_text": 0.5, "tokens_per_second": 1830.4, "fill": 0.973}
    assert progress_line("align", 20, 480, logs, 192) == (
        "align 20/480  loss 0.4123 (image 0.381, text 0.5)  1830 tokens/s  fill 97 %  0:03:12 left"
    )


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("out", "start"), [(io.StringIO(), ""), (Terminal(), "\r\x1b[K")])
def test_a_terminal_has_one_line_and_a_file_many(out, start):
    clock = Clock()
    progress = Progress("s", clock, out)
    state = TrainerState(max_steps=4, is_world_process_zero=True)
    clock.on_train_begin(None, state, None)
    for step in (1, 2):
        state.global_step = step
        progress.on_log(None, state, None, logs={"loss": 2.0})
    progress.on_train_end(None, state, None)
    end = "\n" if not start else ""
    assert out.getvalue() == "".join(f"{start}s {n}/4  loss 2  0:00:00 left{end}" for n in (1, 2)) + (
        "\n" if start else ""
    )


def _run(folder, **settings):
    toys.save_picture_model(folder)
    stage = {"name": "s", "data": str(toys.picture_rows(folder)), "train": {"connector.image": "full"}}
    stage |= {"batch_size": 6, "logging_steps": 1, "max_steps": 2}
    recipe = {"model": str(folder / "model"), "output": str(folder / "out"), "stages": [stage], **settings}
    return run_recipe(Recipe.model_validate(recipe))


def test_a_run_prints_and_logs_it(tmp_path, capsys):
    done = _run(tmp_path)
    first, second = (line for line in capsys.readouterr().out.splitlines() if line.startswith("s "))
    assert first.startswith("s 1/2  loss ")
    assert "(image " in first
    assert "tokens/s  fill " in second
    log = [entry for entry in json.loads((done / "log.json").read_text()) if "loss" in entry]
    assert all({"loss_image", "loss_text", "fill", "tokens_per_second", "grad_norm"} <= entry.keys() for entry in log)


def test_tensorboard_gets_the_same_figures(tmp_path):
    """In a folder beside the checkpoints, as the Trainer does it."""
    done = _run(tmp_path, report_to=["tensorboard"])
    (events,) = (done / "checkpoints").rglob("events.out.*")
    read = event_accumulator.EventAccumulator(str(events.parent))
    read.Reload()
    log = [entry for entry in json.loads((done / "log.json").read_text()) if "loss" in entry]
    assert [event.value for event in read.Scalars("train/loss_image")] == pytest.approx([e["loss_image"] for e in log])


def test_what_is_not_installed_cannot_be_reported_to(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "wandb" else find(name, *a))
    with pytest.raises(KitError, match="report_to: wandb is not installed; pip install wandb"):
        _run(tmp_path, report_to=["wandb"])


def test_the_time_left_is_that_of_this_runs_speed_and_of_the_whole_limit():
    clock = Clock(minutes=2)
    state = TrainerState(max_steps=40, global_step=10)
    state.stateful_callbacks = {"Clock": {"attributes": {"seconds": 50.0}}}
    clock.on_train_begin(None, state, None)
    clock.start -= 10  # seconds of this run
    state.global_step = 20
    assert clock.seconds_left(state) == pytest.approx(20, abs=1)  # a second a step, and not the 50 before
    state.max_steps = 400
    assert clock.seconds_left(state) == pytest.approx(60, abs=1)  # two minutes, of which one has gone
