"""Two stages that were trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import toys
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe


@pytest.fixture(scope="session")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a recipe of two stages, ``first`` and ``second``, of which the second has adapters."""
    folder = tmp_path_factory.mktemp("outcome")
    toys.save_picture_model(folder)
    rows = str(toys.picture_rows(folder))
    stage = {"data": rows, "max_steps": 3, "batch_size": 3, "logging_steps": 1}
    first = {"name": "first", "train": {"connector.image": "full"}, **stage}
    second = {
        "name": "second",
        "train": {"llm": "lora", "connector.image": {"mode": "full", "weight_decay": 0.1}},
        **stage,
    }
    recipe = {"model": str(folder / "model"), "output": str(folder / "out"), "stages": [first, second]}
    run_recipe(Recipe.model_validate(recipe))
    return folder / "out"
