"""A dry run tells what the stages would take, from a few steps, and writes nothing."""

from __future__ import annotations

import pytest
import yaml

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.training.dry_run import Estimate, dry_run
from tinyllava_kit.training.loop.trainer import KitTrainer
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit_cli import app

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dry")
    toys.save_picture_model(folder)
    toys.picture_rows(folder, 150)
    stages = [
        {"name": "first", "train": {"connector.image": "full"}, "cache_features": True, "epochs": 3},
        {"name": "second", "train": {"llm": "lora"}, "max_steps": 700, "max_minutes": 600, "packing": {"length": 150}},
    ]
    shared = {"data": str(folder / "rows.json"), "batch_size": 1, "max_length": 100, "save_steps": 1}
    held_out = {"validation": {"data": str(folder / "rows.json"), "every_steps": 1}}
    recipe = {"model": str(folder / "model"), "output": str(folder / "out")}
    (folder / "recipe.yaml").write_text(
        yaml.safe_dump({**recipe, "stages": [{**stage, **shared, **held_out} for stage in stages]})
    )
    return folder


@pytest.fixture(scope="module")
def found(place):
    before = sorted(place.rglob("*"))
    estimates = list(dry_run(Recipe.from_yaml(place / "recipe.yaml")))
    assert sorted(place.rglob("*")) == before
    return estimates


def test_a_folder_of_features_that_the_recipe_names_is_not_filled(place, tmp_path):
    recipe = Recipe.from_yaml(place / "recipe.yaml", [f"first.cache_features={{mode: true, dir: {tmp_path / 'kept'}}}"])
    list(dry_run(recipe, only="first"))
    assert not (tmp_path / "kept").exists()


def test_rows_and_steps_are_those_of_the_whole_stage(found):
    first, second = found
    assert (first.stage, first.rows, first.steps) == ("first", 150, 450)
    assert (second.stage, second.rows, second.steps) == ("second", 150, 700)


def test_time_is_that_of_all_steps_and_what_comes_before_them(found):
    first, second = found
    assert first.first_seconds > 0  # for the features
    assert first.seconds == pytest.approx(first.first_seconds + 450 * first.step_seconds)
    assert (second.first_seconds, second.seconds) == (0, pytest.approx(700 * second.step_seconds))


def test_parts_and_memory(found):
    first, second = found
    assert 0 < first.trained < first.parameters
    assert second.trained != first.trained
    assert min(first.memory, second.memory) > 50e6


def test_time_ends_a_stage_before_its_steps():
    shared = {
        "stage": "s",
        "rows": 3,
        "first_seconds": 5.0,
        "trained": 1,
        "parameters": 2,
        "device": "cpu",
        "memory": 1,
    }
    long = Estimate(steps=1000, step_seconds=0.5, limit_seconds=60.0, **shared)
    assert (long.steps_in_time, long.seconds) == (120, 65)
    assert Estimate(steps=100, step_seconds=0.5, limit_seconds=60.0, **shared).steps_in_time == 100


def test_the_command_prints_it_with_changes_and_for_one_stage(place, capfd):
    line = ["train", str(place / "recipe.yaml"), "--dry-run", "--stage", "second", "--set", "second.max_steps=30"]
    with pytest.raises(SystemExit) as ended:
        app.main(line)
    assert not ended.value.code
    out = capfd.readouterr().out.splitlines()
    rows = dict(line.strip().split("  ", 1) for line in out if line.startswith("  "))
    assert out[out.index("stage second") + 1].split() == ["rows", "150"]
    assert rows["steps"].strip() == "30"
    assert out[-1].endswith("nothing was written")
    assert not (place / "out").exists()


def test_a_mistake_in_the_data_is_the_same_line_as_in_training(place, monkeypatch):
    monkeypatch.setattr(KitTrainer, "train", lambda *_: pytest.fail("it was trained"))
    recipe = Recipe.from_yaml(place / "recipe.yaml", ["first.train.connector.imag=full"])
    with pytest.raises(KitError, match=r"stage 'first': train\.connector\.imag: the model has no such part"):
        list(dry_run(recipe))
