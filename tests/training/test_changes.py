"""``--set STAGE.KEY=VALUE``: what it changes in a recipe, and what cannot be changed so."""

from __future__ import annotations

import pytest
import yaml

from tinyllava_kit import KitError
from tinyllava_kit.training.changes import with_changes
from tinyllava_kit.training.recipe import Recipe

RECIPE = {
    "model": "model",
    "output": "runs",
    "stages": [
        {"name": "connector", "data": "rows.json", "train": {"connector.image": "full"}},
        {
            "name": "together",
            "data": [{"path": "a.json"}, {"path": "b.json"}],
            "train": {"llm": {"mode": "lora"}, "connector.image": {"mode": "full"}},
        },
    ],
}


def changed(tmp_path, *changes):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return Recipe.from_yaml(path, changes)


def test_values_are_yaml_and_the_rest_stays(tmp_path):
    recipe = changed(
        tmp_path,
        "connector.max_steps=20",
        "connector.learning_rate=3e-4",
        "connector.cache_features={mode: auto, max_gb: 2}",
        "together.data.1.limit=7",
        "together.train.connector.image.learning_rate=0.5",
        "together.train.llm.lora.rank=4",
        "together.train.tower.image=full",
        "together.trainer.adam_beta2=0.9",
        "output=elsewhere",
        "seed=3",
    )
    first, second = recipe.stages
    assert (first.max_steps, first.learning_rate) == (20, 3e-4)
    assert (first.cache_features.mode, first.cache_features.max_gb) == ("auto", 2)
    assert [source.limit for source in second.data] == [None, 7]
    assert second.train["connector.image"].learning_rate == 0.5
    assert (second.train["llm"].mode, second.train["llm"].lora.rank) == ("lora", 4)
    assert second.train["tower.image"].mode == "full"
    assert second.trainer == {"adam_beta2": 0.9}
    assert (recipe.output, recipe.seed) == ("elsewhere", 3)
    assert first.train["connector.image"].mode == "full"  # a stage may be called as a part is


def test_a_recipe_that_is_changed_stays_as_it_was():
    before = yaml.safe_dump(RECIPE)
    with_changes(RECIPE, ["together.train.llm.mode=full"])
    assert yaml.safe_dump(RECIPE) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("connector.max_steps", r"--set 'connector\.max_steps': expected STAGE\.KEY=VALUE"),
        ("connector.=3", r"expected STAGE\.KEY=VALUE"),
        ("conector.max_steps=3", r"the recipe has no stage 'conector'; did you mean 'connector'\?"),
        ("connector.data.limit=3", r"data is 'rows\.json', which has no keys; set it whole"),
        ("together.data.2.limit=3", r"there are 2 entries, counted from 0; got '2'"),
        ("connector.max_steps=[1", r"--set connector\.max_steps: '\[1' is not YAML"),
        ("connector.max_steps=!!python/object:os.system x", "is not YAML: .*is not read"),
        ("connector.max_step=3", r"recipe\.yaml: stages\.0\.max_step: unknown key; did you mean 'max_steps'"),
        ("connector.max_steps=many", r"stages\.0\.max_steps: .*valid integer.*, got 'many'"),
        ("sed=3", "sed: unknown key; did you mean 'seed'"),
    ],
)
def test_a_change_that_cannot_be_made_is_one_line(tmp_path, change, message):
    with pytest.raises(KitError, match=message) as told:
        changed(tmp_path, change)
    assert "\n" not in str(told.value)
