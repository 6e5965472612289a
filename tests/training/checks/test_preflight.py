"""Mistakes of a later stage are found before the first model is loaded, and every message names its stage."""

from __future__ import annotations

import json

import pytest
import yaml

from tests import toys
from tests.training.runs import train
from tinyllava_kit import KitError
from tinyllava_kit.training import preparation, run
from tinyllava_kit.training.recipe import Recipe

pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path, monkeypatch):
    toys.captioned_model(tmp_path, ["a red ball", "two"])
    toys.picture_rows(tmp_path, 3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe_of(place, **second):
    first = {"name": "first", "data": "rows.json", "train": {"connector.image": "full"}, "max_steps": 1}
    stages = [first, {**first, "name": "second", **second}]
    (place / "recipe.yaml").write_text(yaml.safe_dump({"model": "model", "output": "runs", "stages": stages}))
    return Recipe.from_yaml(place / "recipe.yaml")


MISTAKES = {
    "part": ({"train": {"connector.imag": "full"}}, r"stage 'second': train\.connector\.imag: .* 'connector\.image'"),
    "file": ({"data": "row.json"}, r"stage 'second': cannot read data '.*row\.json': no such file; .* 'rows\.json'"),
    "pattern": ({"data": "rows-*.json"}, r"stage 'second': 'rows-\*\.json': there is no file"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_of_the_second_stage_is_found_before_anything_is_loaded(mistake, place, monkeypatch):
    change, message = MISTAKES[mistake]
    monkeypatch.setattr(preparation, "load_pretrained", None)
    with pytest.raises(KitError, match=message):
        run.run_recipe(recipe_of(place, **change))
    assert not (place / "runs").exists()


def test_a_stage_that_is_not_run_is_not_checked(place):
    recipe = recipe_of(place, data="row.json")
    assert run.run_recipe(recipe, only="first").name == "first"
    with pytest.raises(KitError, match="stage 'second': cannot read data"):
        run.run_recipe(recipe)


def test_what_is_wrong_in_the_middle_names_its_stage_once(place):
    (place / "rows.json").write_text('[{"id": "a"}]')
    with pytest.raises(KitError, match=r"^stage 'first': .*rows\.json\[0\] 'a': needs 'conversations' or 'messages'"):
        run.run_recipe(recipe_of(place))
    with pytest.raises(KitError, match=r"^stage 'first' was not run yet, and 'second' starts from it"):
        run.run_recipe(recipe_of(place), only="second")


def test_a_missing_file_is_named_before_training(place):
    rows = json.loads((place / "rows.json").read_text())
    rows[-2]["image"] = "images/gone.png"
    rows[-2]["conversations"][0]["value"] = "<image>"
    (place / "gone.json").write_text(json.dumps(rows))
    with pytest.raises(KitError, match=r"gone\.json\[1\] 'row-1': image '.*gone\.png' is no file"):
        train(place, "gone", data=str(place / "gone.json"), max_steps=1)
    assert not (place / "gone" / "s").exists()
