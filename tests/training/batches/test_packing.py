"""Packing: every sample once, no row too full, and a run that learns what an unpacked one learns."""

from __future__ import annotations

import json
import math
import random

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.data.dataset import ConversationDataset
from tinyllava_kit.training.batches.packing import PackedBatches, pack, token_counts
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = pytest.mark.slow

samples = st.lists(st.tuples(st.integers(0, 40), st.floats(0, 9)), max_size=60)


@settings(deadline=None)
@given(samples, st.integers(1, 50), st.none() | st.floats(0.5, 20))
def test_every_sample_is_in_one_row_and_no_row_is_too_full(sample_order, length, limit):
    tokens = [count for count, _ in sample_order]
    sizes = [{"audio": seconds} for _, seconds in sample_order]
    rows = pack(tokens, length, sizes=sizes, limits={} if limit is None else {"audio": limit})
    assert sorted(index for row in rows for index in row) == list(range(len(tokens)))
    for row in rows:
        if len(row) > 1:
            assert sum(tokens[i] for i in row) <= length
            assert limit is None or math.fsum(sizes[i]["audio"] for i in row) <= limit + 1e-9


@settings(deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=40))
def test_no_two_rows_would_fit_in_one_half(tokens):
    """What best fit promises: at most one row is half empty."""
    rows = pack(tokens, 12)
    assert sum(sum(tokens[i] for i in row) <= 6 for row in rows) <= 1


def llava_like(count, seed=0):
    """Lengths spread like those of LLaVA's mixture: a picture of 576 rows or none, and a long tail of text."""
    draw = random.Random(seed)
    return [min(2048, draw.choice([0, 576, 576, 576]) + int(draw.lognormvariate(4.6, 0.9))) + 20 for _ in range(count)]


def test_lengths_like_those_of_a_visual_instruction_mixture_fill_their_rows():
    tokens = [min(count, 2048) for count in llava_like(6000)]
    batches = PackedBatches(tokens, 2048, batch_size=4)
    padded = sum(tokens) / sum(max(tokens[i : i + 4]) * 4 for i in range(0, len(tokens), 4))
    assert batches.fill > 0.95
    assert padded < 0.7  # what batches as they come have


def test_an_epochs_rows_depend_on_seed_and_epoch_alone():
    def rows(seed, epoch):
        batches = PackedBatches(llava_like(50), 2048, batch_size=2, seed=seed)
        batches.set_epoch(3)
        batches.set_epoch(epoch)
        return [row for batch in batches for row in batch]

    assert rows(1, 0) == rows(1, 0)
    assert rows(1, 0) != rows(1, 1)
    assert rows(1, 0) != rows(2, 0)


def test_batches_have_so_many_rows():
    batches = PackedBatches([5] * 10, 10, batch_size=2)
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert len(batches) == 3
    assert batches.fill == 1.0


def train(place, name, **stage):
    stage = {"name": "s", "data": str(place / "rows.json"), "train": {"connector.image": "full"}, **stage}
    stage |= {"logging_steps": 1, "learning_rate": 1e-3, "epochs": 3, "schedule": "constant_with_warmup"}
    recipe = {"model": str(place / "model"), "output": str(place / name), "stages": [stage]}
    return run_recipe(Recipe.model_validate(yaml.safe_load(yaml.safe_dump(recipe))))


def losses(directory):
    return [e["loss"] for e in json.loads((directory / "log.json").read_text()) if "loss" in e]


def test_a_packed_run_learns_what_a_run_of_whole_batches_learns(place, capsys):
    packed = train(place, "packed", packing=True, max_length=200, batch_size=9)
    assert "packed 6 samples into 2 rows of 200: fill 60.0%" in capsys.readouterr().out
    whole = train(place, "whole", batch_size=9, max_length=200)
    assert losses(packed) == pytest.approx(losses(whole), abs=1e-4)


@pytest.mark.parametrize("workers", [0, 2])
def test_positions_are_counted_without_decoding(place, monkeypatch, workers):
    _, processor = load_pretrained(place / "model")
    dataset = ConversationDataset.from_file(place / "rows.json", processor)
    expected = [dataset[index].num_tokens for index in range(len(dataset))]
    monkeypatch.setattr(processor.modalities["image"], "read", None)
    assert token_counts(dataset, workers=workers) == expected
    assert token_counts(dataset, 30, workers=workers) == [min(count, 30) for count in expected]


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"batch_budget": {"image": 3}}, "packing and batch_budget do not go together"),
        ({"match_words": {}}, "packing and match_words do not go together"),
        ({"max_length": None}, "max_length None does not fit rows of None positions"),
        ({"packing": {"length": 100}, "max_length": 200}, "max_length 200 does not fit rows of 100 positions"),
    ],
)
def test_what_does_not_go_together_is_refused(stage, message):
    data = {"name": "s", "data": "rows.json", "train": {"connector.image": "full"}, "packing": True}
    with pytest.raises(ValidationError, match=f"stage s: .*{message}"):
        Recipe.model_validate({"model": "m", "output": "o", "stages": [{**data, **stage}]})


def test_a_limit_names_a_modality_of_the_model(place):
    with pytest.raises(KitError, match=r"packing\.limits\.imag: the model has no such modality; did you mean 'image'"):
        train(place, "limits", packing={"limits": {"imag": 1}})


def test_a_limit_makes_more_rows(place, capsys):
    train(place, "limited", packing={"length": 200, "limits": {"image": 2}}, max_length=200)
    assert "into 3 rows of 200" in capsys.readouterr().out
