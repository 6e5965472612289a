"""Losses by kind of sample and by group of ids, tokens and fill: means over targets."""

from __future__ import annotations

import pytest
import torch

from tinyllava_kit.core.plan import plan
from tinyllava_kit.core.spans import ItemSpan, TextSpan
from tinyllava_kit.training.loop.meter import Meter, kinds_of

LEARNED = TextSpan([1, 2], labels=[-100, 2])


SAMPLES = [
    [LEARNED],
    [ItemSpan("image", 3), LEARNED, LEARNED],
    [ItemSpan("image", 1), ItemSpan("audio", 1), LEARNED],
    [LEARNED],
]


def test_losses_are_averaged_by_what_their_sample_holds():
    _, layout = plan(SAMPLES, packs=[2, 2])
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


def test_a_step_counts_by_its_targets_and_an_empty_one_nothing():
    meter = Meter()
    for count, batches in ((4, [1.0, 0.5]), (0, [0.0]), (12, [3.0])):
        targets = torch.tensor(count)
        meter.add_step(targets)
        for loss in batches:  # each what it adds to the mean of its step
            meter.add_loss(torch.tensor(loss), targets)
    assert meter.take() == {"loss": pytest.approx((1.5 * 4 + 3.0 * 12) / 16)}
    meter.add_step(torch.tensor(0))
    meter.add_loss(torch.tensor(0.0), torch.tensor(0))
    assert meter.take() == {}
    for loss in (1.0, 2.0):
        meter.add_step(None)
        meter.add_loss(torch.tensor(loss), None)
    assert meter.take() == {"loss": 1.5}
    assert meter.loss_of_run() == {"loss": pytest.approx((1.5 * 4 + 3.0 * 12 + 1.0 + 2.0) / 18)}


def test_a_kind_of_which_nothing_is_learned_has_no_loss():
    skipped = [TextSpan([0], labels=[-100])]
    meter = Meter()
    meter.add(plan([SAMPLES[1], skipped])[1], torch.tensor([1.0, 2.0]))
    meter.add(plan([skipped])[1], torch.tensor([]))
    assert not [key for key in meter.take() if key.startswith("loss")]
    meter.add(plan([SAMPLES[1], SAMPLES[2], skipped])[1], torch.tensor([1.0, 2.0, 4.0]))
    taken = meter.take()
    assert {key: taken[key] for key in taken if "loss" in key} == {"loss_image": 1.5, "loss_audio+image": 4.0}


def test_groups_are_averaged_over_the_batches_that_have_them():
    meter = Meter({"text": 1.0, "drawing": 0.5, "never": 2.0})
    none = torch.tensor([])
    for text, drawing in (([1.0, 3.0], [8.0]), ([5.0], []), ([], [2.0, 2.0])):
        losses = {"text": torch.tensor(text), "drawing": torch.tensor(drawing), "never": none}
        targets = torch.tensor([len(each) for each in losses.values()])
        meter.add_step(targets)
        meter.add_loss(torch.tensor(1.0), targets)
        meter.add_groups({name: (each, each > 2) for name, each in losses.items()})
    assert meter.take() == {
        "loss": pytest.approx(3.0 + 0.5 * 4.0),
        "ids_loss_text": pytest.approx(3.0),
        "ids_right_text": pytest.approx(2 / 3),
        "ids_loss_drawing": pytest.approx(4.0),
        "ids_right_drawing": pytest.approx(1 / 3),
    }


def test_one_kind_of_sample_has_no_line_of_its_own():
    meter = Meter()
    meter.add(plan(SAMPLES[:1])[1], torch.tensor([1.0]))
    assert set(meter.take()) == {"tokens_per_second", "fill"}
