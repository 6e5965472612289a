"""What the keys of a stage hold: short forms, bounds, and what does not go together."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tinyllava_kit.training.stage_settings import (
    Distill,
    FeatureCaching,
    Lora,
    MatchFeatures,
    MatchWords,
    Packing,
    PartTraining,
    Quantized,
    Validation,
    many,
    mode_alone,
    packing_of,
)


@pytest.mark.parametrize(
    ("value", "listed"),
    [
        ("a.json", [{"path": "a.json"}]),
        ({"path": "a.json", "limit": 2}, [{"path": "a.json", "limit": 2}]),
        (["a.json", {"dataset": "b"}], [{"path": "a.json"}, {"dataset": "b"}]),
        ((), []),
        (3, [3]),  # which the schema refuses
    ],
)
def test_data_are_a_list_of_sources_however_they_are_written(value, listed):
    assert many(value) == listed


def test_short_forms_stand_for_what_they_say():
    assert [mode_alone(value) for value in ("lora", True, {"mode": "full"}, None)] == [
        {"mode": "lora"},
        {"mode": True},
        {"mode": "full"},
        None,
    ]
    assert [packing_of(value) for value in (True, False, {"length": 3}, None)] == [{}, None, {"length": 3}, None]


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        (Lora, {"rank": 0}, "rank"),
        (Lora, {"alpha": 0}, "alpha"),
        (Lora, {"dropout": 1}, "dropout"),
        (PartTraining, {"mode": "most"}, "mode"),
        (PartTraining, {"mode": "full", "learning_rate": 0}, "learning_rate"),
        (PartTraining, {"mode": "full", "weight_decay": -1}, "weight_decay"),
        (PartTraining, {"mode": "partial"}, "mode partial and from_layer require each other"),
        (PartTraining, {"mode": "lora", "from_layer": 0}, "mode partial and from_layer require each other"),
        (PartTraining, {"mode": "partial", "from_layer": -1}, "from_layer"),
        (Distill, {"temperature": 0}, "temperature"),
        (Distill, {"weight": 1.1}, "weight"),
        (MatchWords, {"sharpness": 0}, "sharpness"),
        (MatchFeatures, {}, "teacher"),
        (FeatureCaching, {"mode": "always"}, "mode"),
        (FeatureCaching, {"max_gb": 0}, "max_gb"),
        (Packing, {"length": 0}, "length"),
        (Packing, {"limits": {"image": 0}}, "limits.image"),
        (Quantized, {"bits": 2}, "bits"),
        (Quantized, {"bits": 4, "type": "int4"}, "type"),
        (Validation, {"data": []}, "data"),
        (Validation, {"data": "v", "every_steps": 0}, "every_steps"),
        (Validation, {"data": "v", "patience": 0}, "patience"),
        (Validation, {"data": "v", "scorer": "retrieval"}, "ranks all rows and takes too long"),
        (Validation, {"data": {"path": "v", "stream": True}}, "held-out rows are read whole; take stream out"),
    ],
)
def test_what_has_no_meaning_is_refused(kind, keys, message):
    with pytest.raises(ValidationError, match=message):
        kind(**keys)


@pytest.mark.parametrize(("scorer", "lower"), [(None, True), ("wer", True), ("exact_match", False)])
def test_a_loss_and_an_error_rate_are_better_when_they_are_lower(scorer, lower):
    assert Validation(data="v", scorer=scorer).lower_is_better is lower
