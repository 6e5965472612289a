"""What a stage measures when it begins: the same way is taken by every run that resumes it."""

import pytest
import torch

from tinyllava_kit.training.loop import arguments
from tinyllava_kit.training.output.decisions import decided, forget_decisions
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


def test_decisions_are_separate_and_can_be_forgotten(tmp_path):
    assert decided(tmp_path, "cached", lambda: True)
    assert not decided(tmp_path, "bf16", lambda: False)
    assert decided(tmp_path, "cached", lambda: pytest.fail("it was decided before"))
    forget_decisions(tmp_path)
    assert not decided(tmp_path, "cached", lambda: False)
