"""A stage as the Trainer's arguments; mixed precision where it is measured to be faster."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from tests.training.runs import run_two_steps
from tinyllava_kit import KitError
from tinyllava_kit.training.loop import arguments
from tinyllava_kit.training.recipe import Stage


def stage(**keys) -> Stage:
    return Stage.model_validate({"name": "s", "data": "rows.json", "train": {"llm": "full"}, **keys})


@pytest.fixture
def seconds(monkeypatch):
    """A processor with instructions for bfloat16, and how long a product takes on it."""
    times = {torch.float32: 2.0, torch.bfloat16: 1.0}
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(arguments, "_product_seconds", lambda *dtypes: [times[dtype] for dtype in dtypes])
    return times


@pytest.mark.parametrize(("bfloat16", "taken"), [(1.0, True), (1.9, False), (3.0, False)])
def test_bfloat16_is_taken_where_it_is_clearly_faster(tmp_path, seconds, bfloat16, taken):
    seconds[torch.bfloat16] = bfloat16
    assert arguments.training_arguments(stage(bf16="auto"), tmp_path, 0, epochs=1).bf16 is taken


def test_dtypes_take_turns_and_a_pause_in_one_product_counts_for_nothing(monkeypatch):
    """A clock on which every product in bfloat16 takes 1, and in float32 2, but for the pauses of a busy machine."""
    now, asked = [0.0], []

    def product(rows, weight):
        asked.append(rows.dtype)
        now[0] += {torch.bfloat16: 1, torch.float32: 2}[rows.dtype] + (100 if len(asked) % 7 else 0)

    monkeypatch.setattr(arguments.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(torch.nn.functional, "linear", product)
    assert arguments._product_seconds(torch.bfloat16, torch.float32) == [1, 2]
    assert asked[:4] == [torch.bfloat16, torch.float32] * 2


def test_a_run_that_resumes_does_not_measure_again(tmp_path, seconds):
    first = arguments.training_arguments(stage(bf16="auto"), tmp_path, 0, epochs=1)
    seconds[torch.bfloat16] = 3.0
    again = arguments.training_arguments(stage(bf16="auto"), tmp_path, 0, epochs=1)
    assert (first.bf16, again.bf16) == (True, True)


@pytest.mark.parametrize("given", [True, False])
def test_what_a_recipe_says_is_not_measured(tmp_path, given, monkeypatch):
    monkeypatch.setattr(arguments, "_product_seconds", lambda *_: pytest.fail("it was timed"))
    assert arguments._bf16(stage(bf16=given), tmp_path) is given
    assert not list(tmp_path.iterdir())


def test_what_is_not_installed_cannot_be_reported_to(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "wandb" else find(name, *a))
    with pytest.raises(KitError, match="report_to: wandb is not installed; pip install wandb"):
        run_two_steps(tmp_path, report_to=["wandb"])
