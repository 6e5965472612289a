"""A recipe's keys, and what one that cannot be run is told."""

from __future__ import annotations

import re

import pytest
import yaml
from pydantic import ValidationError

from tinyllava_kit import KitError
from tinyllava_kit.data.sources import Pairs, Source, Strict
from tinyllava_kit.training.recipe import Recipe, Stage
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
)

LEVELS = {  # where each part of the schema stands in a recipe
    Recipe: [],
    Stage: ["stages", 1],
    Source: ["stages", 1, "data", 0],
    Pairs: ["stages", 1, "data", 0, "pairs"],
    PartTraining: ["stages", 1, "train", "llm"],
    Lora: ["stages", 1, "train", "llm", "lora"],
    FeatureCaching: ["stages", 1, "cache_features"],
    Distill: ["stages", 1, "distill"],
    MatchWords: ["stages", 1, "match_words"],
    MatchFeatures: ["stages", 1, "match_features"],
    Packing: ["stages", 1, "packing"],
    Validation: ["stages", 1, "validation"],
    Quantized: ["stages", 1, "quantization"],
}


def recipe_with(place, key):
    """Two stages with every part of the schema, and an unknown key at one place."""
    data = {"path": "rows.json", "pairs": {"modality": "image", "prompts": ["What?"]}}
    objectives = {"distill": {}, "match_words": {}, "match_features": {"teacher": "m"}, "cache_features": {}}
    objectives |= {"packing": {}, "quantization": {"bits": 4}, "validation": {"data": "v"}}
    full = {"name": "b", "data": [data], "train": {"llm": {"mode": "lora", "lora": {}}}, **objectives}
    recipe = {"model": "m", "output": "o", "stages": [{"name": "a", "data": "r", "train": {"llm": "full"}}, full]}
    at = recipe
    for step in place:
        at = at[step]
    at[key] = 1
    return recipe


def test_every_part_of_the_schema_has_a_level():
    assert set(Strict.__subclasses__()) == LEVELS.keys()


@pytest.mark.parametrize("part", LEVELS, ids=lambda part: part.__name__)
def test_an_unknown_key_gets_the_near_one_of_its_own_level(tmp_path, part):
    place = LEVELS[part]
    key = next(name for other in LEVELS for name in other.model_fields if name not in part.model_fields)
    for given, wanted in ((f"{next(iter(part.model_fields))}x", next(iter(part.model_fields))), (key, None)):
        (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe_with(place, given)))
        with pytest.raises(KitError, match="unknown key; ") as error:
            Recipe.from_yaml(tmp_path / "r.yaml")
        where, advice = str(error.value).removeprefix(f"{tmp_path}/r.yaml: ").split(": unknown key; ")
        assert where == ".".join(map(str, [*place, given]))
        named = re.findall(r"'(\w+)'", advice) or advice.removeprefix("known: ").split(", ")
        assert set(named) <= part.model_fields.keys()
        assert wanted is None or wanted in named


def recipe(place, name, **stage):
    stage = {"name": "s", "data": str(place / "rows.json"), "learning_rate": 1e-2, "max_steps": 2, **stage}
    return Recipe.model_validate({"model": str(place / "model"), "output": str(place / name), "stages": [stage]})


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"train": {"llm": "frozen"}}, "stage s: every part is frozen"),
        ({"train": {"llm": "partial"}}, "mode partial and from_layer require each other"),
        ({"train": {"llm": {"mode": "full", "from_layer": 1}}}, "mode partial and from_layer require each other"),
        ({"train": {"llm": "full"}, "quantization": {"bits": 4}}, "stage s: quantization is for adapters on the LLM"),
        ({"train": {"connector.image": "full"}, "quantization": {"bits": 8}}, "quantization is for adapters"),
    ],
)
def test_what_trains_nothing_or_cannot_be_is_refused(place, stage, message):
    with pytest.raises(ValidationError, match=message):
        recipe(place, "refused", **stage)
