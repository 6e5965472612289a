"""A recipe's stages in order: what is done is not done again, and one process at a time writes a stage."""

from __future__ import annotations

import os

import pytest

from tests.training.runs import train, write_short_recipe
from tinyllava_kit import KitError
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = pytest.mark.slow


def test_a_complete_stage_is_not_run_again_and_says_so(place, capsys):
    train(place, "twice", max_steps=1)
    capsys.readouterr()
    train(place, "twice", max_steps=1, logging_steps=3)
    assert "stage s is complete" in capsys.readouterr().out


def test_a_stage_before_the_one_it_starts_from_is_refused(place):
    stage = {"data": str(place / "rows.json"), "train": {"connector.image": "full"}}
    recipe = {"model": str(place / "model"), "output": str(place / "early"), "stages": [{"name": "a", **stage}]}
    recipe["stages"].append({"name": "b", **stage})
    with pytest.raises(KitError, match="stage 'a' was not run yet, and 'b' starts from it; run it first"):
        run_recipe(Recipe.model_validate(recipe), only="b")


def test_a_second_run_of_a_stage_is_refused_while_the_first_is_at_it(place, in_step):
    path, said = write_short_recipe(place, "together", max_steps=2), []

    def again():
        with pytest.raises(
            KitError, match=rf"stage 's': process {os.getpid()} on .* is writing '.*together/s' already"
        ):
            run_recipe(Recipe.from_yaml(path))
        said.append("refused")

    in_step(1, again)
    run_recipe(Recipe.from_yaml(path))
    assert said == ["refused"]
    assert [each.name for each in (place / "together").iterdir()] == ["s"]


def test_what_a_killed_stage_left_beside_goes_when_it_goes_on(place):
    left = place / "left" / ".s.unfinished-abcdefgh"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    run_recipe(Recipe.from_yaml(write_short_recipe(place, "left", max_steps=1)))
    assert [each.name for each in (place / "left").iterdir()] == ["s"]


def test_a_place_that_cannot_be_written_is_told_before_a_model_is_loaded(place, monkeypatch):
    path = write_short_recipe(place, "readonly")
    path.write_text(path.read_text().replace(str(place / "readonly"), "/proc/none"))
    monkeypatch.setattr(
        "tinyllava_kit.training.preparation.load_pretrained", lambda *_, **__: pytest.fail("it was loaded")
    )
    with pytest.raises(KitError, match=r"stage 's': cannot write to '/proc/none/s': .*; choose a place that can be"):
        run_recipe(Recipe.from_yaml(path))
