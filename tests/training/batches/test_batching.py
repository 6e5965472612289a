"""Which samples make the batches of a stage, and how many steps these are."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from tinyllava_kit import KitError
from tinyllava_kit.core.conversation import Conversation, Item, Turn
from tinyllava_kit.training.batches import batching
from tinyllava_kit.training.batches.batching import batches_of, stage_batches, steps_of
from tinyllava_kit.training.batches.packing import PackedBatches
from tinyllava_kit.training.batches.sized import SizedBatches
from tinyllava_kit.training.recipe import Stage

MODALITIES = {"audio": SimpleNamespace(measure=float)}


def stage(**keys) -> Stage:
    return Stage.model_validate({"name": "s", "data": "rows.json", "train": {"llm": "full"}, "batch_size": 2, **keys})


def said(*seconds) -> list[Conversation]:
    """Conversations with a sound each, so long."""
    return [Conversation((Turn("user", "a" * n),), (Item("audio", str(s)),)) for n, s in enumerate(seconds)]


def never():
    pytest.fail("positions were counted")


def test_samples_are_drawn_one_after_another_where_the_stage_does_not_say_otherwise():
    assert batches_of(stage(), said(1, 2, 3), MODALITIES, never, 0) is None


def test_batches_by_size_keep_their_budget():
    found = batches_of(stage(batch_budget={"audio": 6}), said(1, 2, 3, 5), MODALITIES, never, 0)
    assert isinstance(found.batches, SizedBatches)
    assert sorted(map(sorted, found)) == [[0, 1], [2], [3]] or sorted(map(sorted, found)) == [[0], [1, 2], [3]]
    grouped = batches_of(stage(group_by_size=True), said(4, 1, 4, 1), MODALITIES, never, 0)
    assert sorted(map(sorted, list(grouped)[:2])) == [[0, 2], [1, 3]]


def test_packed_rows_are_of_the_positions_that_are_counted():
    packed = stage(packing={"length": 7}, max_length=7)
    found = batches_of(packed, said(1, 2, 3), MODALITIES, lambda: [5, 4, 2], 0)
    assert isinstance(found.batches, PackedBatches)
    assert sorted(sorted(row) for batch in found for row in batch)[:2] == [[0, 2], [1]]
    limited = stage(packing={"length": 7, "limits": {"audio": 3}}, max_length=7)
    found = batches_of(limited, said(1, 2, 3), MODALITIES, lambda: [5, 4, 2], 0)
    assert sorted(sorted(row) for batch in list(found)[:2] for row in batch)[:3] == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ({"batch_budget": {"audi": 3}}, "batch_budget.audi"),
        ({"packing": {"length": 7, "limits": {"audi": 3}}, "max_length": 7}, r"packing\.limits\.audi"),
    ],
)
def test_a_limit_for_a_modality_that_the_model_does_not_have_is_refused(keys, place):
    with pytest.raises(KitError, match=f"{place}: the model has no such modality; did you mean 'audio'"):
        batches_of(stage(**keys), said(1), MODALITIES, lambda: [3], 0)


@pytest.mark.parametrize(("max_steps", "accumulation", "processes"), [(5, 1, 1), (5, 3, 1), (4, 1, 2), (1, 1, 1)])
def test_there_are_as_many_epochs_as_the_steps_need(monkeypatch, max_steps, accumulation, processes):
    monkeypatch.setattr(batching, "world_size", lambda: processes)
    asked = stage(group_by_size=True, max_steps=max_steps, gradient_accumulation=accumulation)
    found = batches_of(asked, said(1, 2, 3), MODALITIES, never, 0)
    assert len(found) >= max_steps * accumulation * processes
    assert len(batches_of(stage(group_by_size=True, epochs=2), said(1, 2, 3), MODALITIES, never, 0)) == 4


@pytest.mark.parametrize("samples", [1, 4, 7])
@pytest.mark.parametrize("accumulation", [1, 2, 3])
@pytest.mark.parametrize("epochs", [1, 2, 1.5])
def test_steps_are_those_of_counting(samples, accumulation, epochs):
    """An epoch's last step may have fewer batches."""
    asked = stage(epochs=epochs, gradient_accumulation=accumulation)
    batches, steps = steps_of(asked, samples, None)
    an_epoch = [range(start, min(start + 2, samples)) for start in range(0, samples, 2)]
    a_step = [an_epoch[start : start + accumulation] for start in range(0, len(an_epoch), accumulation)]
    assert batches == math.ceil(epochs * len(an_epoch))
    assert steps == math.ceil(epochs * len(a_step))


def test_steps_that_the_stage_names_are_what_it_takes():
    assert steps_of(stage(max_steps=3, gradient_accumulation=4), 99, None) == (12, 3)
    found = batches_of(stage(group_by_size=True, gradient_accumulation=2), said(1, 2, 3, 4, 5), MODALITIES, never, 0)
    assert steps_of(stage(group_by_size=True, gradient_accumulation=2), 5, found) == (3, 2)


def test_what_exceeds_the_budget_by_itself_is_said(capsys):
    conversations = said(1, 9, 8)
    dataset = type("Data", (), {"__len__": lambda self: 3})()
    dataset.conversations, dataset.processor = conversations, SimpleNamespace(modalities=MODALITIES)
    stage_batches(stage(batch_budget={"audio": 6}), dataset, 0)
    assert capsys.readouterr().out == "2 sample(s) exceed batch_budget by themselves; each is a batch of its own\n"
    stage_batches(stage(batch_budget={"audio": 60}), dataset, 0)
    assert capsys.readouterr().out == ""
