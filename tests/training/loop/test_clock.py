"""How long a stage has trained, and how long it will."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from transformers import TrainerState

from tinyllava_kit.training.loop import clock as module
from tinyllava_kit.training.loop import trainer
from tinyllava_kit.training.loop.clock import Clock


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


def test_time_before_training_does_not_count(monkeypatch):
    """A Trainer asks for the state of its callbacks before it begins, when items may have been encoded for an hour."""
    clock, later = Clock(1), time.monotonic() + 3000
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: later))  # not that of other threads
    state = TrainerState(stateful_callbacks=[clock])
    clock.on_train_begin(None, state, trainer.TrainerControl())
    assert (clock.seconds, clock.share_gone) == (0, 0)


def test_time_before_an_interruption_counts():
    limit = Clock(1)
    limit.start = time.monotonic() - 50
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
