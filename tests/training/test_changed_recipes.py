"""Changed recipes, and changed files of a stage that goes on or is built upon: a line for the user, or a stage."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st

from tests import toys
from tests.fuzz import documents, failures
from tests.yaml_attacks import ATTACKS
from tinyllava_kit.checkpoints.card import read_history, write_card
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = pytest.mark.slow

SOURCE = {
    "path": "rows.json",
    "limit": 3,
    "columns": {"image": "picture"},
    "pairs": {"modality": "image", "prompts": ["What is it?"]},
}
STAGE = {
    "name": "first",
    "data": ["rows.json", SOURCE],
    "train": {"connector.image": {"mode": "full", "learning_rate": 0.1}, "llm": "lora"},
    "batch_size": 2,
    "max_steps": 2,
    "packing": {"length": 64, "limits": {"image": 2}},
    "max_length": 32,
    "cache_features": {"mode": "auto"},
}
RECIPE = {"model": "model", "output": "out", "seed": 3, "report_to": ["tensorboard"], "stages": [STAGE]}


def test_changed_recipes(tmp_path: Path) -> None:
    def read(text: bytes) -> None:
        file = tmp_path / "recipe.yaml"
        file.write_bytes(text)
        Recipe.from_yaml(file)

    changed = st.one_of(*[documents(RECIPE, yaml.safe_dump)] * 4, st.sampled_from(ATTACKS))
    assert not "\n".join(failures(changed, read))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, rows, and the stage ``out/s``, which is complete; ``begun/s`` was left at its first checkpoint."""
    folder = tmp_path_factory.mktemp("stages")
    toys.save_picture_model(folder)
    rows = str(toys.picture_rows(folder))
    stage = {"name": "s", "data": rows, "train": {"connector.image": "full"}, "max_steps": 2, "save_steps": 1}
    recipe = {"model": str(folder / "model"), "output": str(folder / "out"), "stages": [{**stage, "batch_size": 2}]}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    run_recipe(Recipe.from_yaml(folder / "recipe.yaml"))
    shutil.copytree(folder / "out" / "s" / "checkpoints", folder / "begun" / "s" / "checkpoints")
    return folder


def tries(folder: Path, name: str, use: Callable[[Path], Any]) -> str:
    """`failures` of what is done with a copy of a folder of which one JSON file is changed."""

    def action(text: bytes) -> None:
        with tempfile.TemporaryDirectory() as made:
            copy = Path(made) / folder.name
            shutil.copytree(folder, copy)
            (copy / name).write_bytes(text)
            use(copy)

    return "\n".join(failures(documents(json.loads((folder / name).read_text())), action, few=12))


def test_changed_histories(place: Path) -> None:
    def use(stage: Path) -> None:
        read_history(stage)
        write_card(stage)

    assert not tries(place / "out" / "s", "training.json", use)


@pytest.mark.parametrize("name", ["s/checkpoints/stage.json", "s/checkpoints/checkpoint-2/trainer_state.json"])
def test_changed_states_of_a_stage_that_goes_on(place: Path, name: str) -> None:
    def use(output: Path) -> None:
        recipe = Recipe.from_yaml(place / "recipe.yaml").model_copy(update={"output": str(output)})
        run_recipe(recipe)

    assert not tries(place / "begun", name, use)


def test_changed_settings_of_a_complete_stage(place: Path) -> None:
    def use(output: Path) -> None:
        recipe = Recipe.from_yaml(place / "recipe.yaml").model_copy(update={"output": str(output)})
        run_recipe(recipe)

    assert not tries(place / "out", "s/stage.json", use)
