"""The learning rate of a stage: by its steps, and by the clock where time ends the stage before them."""

from __future__ import annotations

import json
import math

import pytest

from tests import toys
from tests.training.runs import losses, write_recipe
from tinyllava_kit.training.loop.clock import Clock
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schedule")
    toys.save_picture_model(folder)
    toys.picture_rows(folder, 4)
    return folder


def run(place, name, **stage):
    stage = {"train": {"connector.image": "full"}, "batch_size": 2, "logging_steps": 1, "learning_rate": 0.01, **stage}
    return run_recipe(Recipe.from_yaml(write_recipe(place, name, {"data": str(place / "rows.json"), **stage})))


@pytest.fixture
def slow_machine(monkeypatch):
    """Twelve seconds a step, whatever the real clock says."""
    ends = []
    monkeypatch.setattr(Clock, "seconds", property(lambda self: 12.0 * len(ends)))
    measure = Clock.on_optimizer_step

    def step(*args, **kwargs):
        ends.append(1)
        measure(*args, **kwargs)

    monkeypatch.setattr(Clock, "on_optimizer_step", step)


@pytest.mark.parametrize(
    ("schedule", "factor"),
    [
        ("linear", lambda share: 1 - share),
        ("cosine", lambda share: (1 + math.cos(math.pi * share)) / 2),
        ("constant_with_warmup", lambda share: 1),
    ],
)
def test_a_slow_machine_ends_at_the_schedules_end(place, slow_machine, schedule, factor):
    run(place, schedule, schedule=schedule, max_steps=1000, max_minutes=1, warmup_ratio=0)
    expected = [0.01 * factor(share) for share in (0, 0.2, 0.4, 0.6, 0.8)]
    assert losses(place, schedule, "learning_rate") == pytest.approx(expected)


def test_the_first_steps_go_by_their_number(place, slow_machine):
    run(place, "warm-up", schedule="linear", max_steps=100, max_minutes=1, warmup_ratio=0.02)
    # two steps up; then by 0.4 of the time, of which the schedule has gone 40 - 2 of its 98 steps down
    expected = [0.0, 0.005, *(0.01 * (100 - 100 * share) / 98 for share in (0.4, 0.6, 0.8))]
    assert losses(place, "warm-up", "learning_rate") == pytest.approx(expected)


@pytest.mark.parametrize("minutes", [1.0, 0.1])
def test_a_stage_that_time_ends_before_its_first_log_has_its_loss(place, slow_machine, minutes):
    name = f"no log {minutes}"
    done = run(place, name, max_steps=1000, max_minutes=minutes, logging_steps=50)
    (loss,) = losses(place, name)
    assert loss > 0
    for file in ("log.json", "training.json", "run.html", "README.md"):
        assert "nan" not in (done / file).read_text().lower()
        assert "no loss" not in (done / file).read_text()
    assert json.loads((done / "training.json").read_text())[-1]["loss"] == loss


def test_a_limit_that_the_steps_do_not_reach_changes_nothing(place):
    run(place, "no limit", epochs=2)
    run(place, "far limit", epochs=2, max_minutes=10_000)
    for key in ("loss", "learning_rate", "grad_norm"):
        assert losses(place, "no limit", key) == losses(place, "far limit", key)
