"""The objectives that the kit ships: each is made from the defaults of its options."""

from __future__ import annotations

import pytest

from tinyllava_kit.plugin.specs import load_class
from tinyllava_kit.training.objectives.objective import Objective
from tinyllava_kit.training.plugin import tinyllava_objectives
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.stage_settings import Distill, MatchFeatures, MatchWords

SETTINGS = {"distill": Distill, "match_words": MatchWords, "match_features": MatchFeatures}


@pytest.mark.parametrize("spec", tinyllava_objectives(), ids=lambda spec: spec.name)
def test_an_objective_takes_the_options_that_its_spec_names(spec):
    kind = load_class(spec, Objective, "training.Objective")
    given = {option.name: "teacher" if option.required else option.default for option in spec.options}
    assert isinstance(kind(**given), Objective)
    with pytest.raises((TypeError, ValueError), match="other"):
        kind(**given, other=1)


@pytest.mark.parametrize("spec", tinyllava_objectives(), ids=lambda spec: spec.name)
def test_the_key_of_a_stage_has_the_options_and_the_defaults_of_the_spec(spec):
    """Two places say them: a recipe's schema, and what a plugin's objective says in the same way."""
    fields = SETTINGS[spec.name].model_fields
    assert {o.name: None if o.required else o.default for o in spec.options} == {
        name: None if field.is_required() else field.default for name, field in fields.items()
    }
    options = {option.name: "m" for option in spec.options if option.required}
    stage = {"name": "s", "data": "d", "train": {f"{spec.trains[0]}.image": "full"}, spec.name: options}
    (read,) = Recipe.model_validate({"model": "m", "output": "o", "stages": [stage]}).stages
    assert read.objective == spec
