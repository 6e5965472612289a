"""The way of a user: assemble, train, ask, on toy checkpoints."""

from __future__ import annotations

import pytest
import yaml

from tests import toys
from tests.cli.running import PARTS
from tests.processes import tinyllava

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with checkpoints, rows, pictures and an assembled model."""
    folder = tmp_path_factory.mktemp("user")
    toys.save_llama(folder / "llm")
    toys.picture_rows(folder)
    made = tinyllava("assemble", *PARTS, "-o", "model", cwd=folder)
    assert made.returncode == 0, made.stderr
    return folder


def recipe(folder, name="recipe.yaml", **stage):
    stage = {
        "name": "joint",
        "data": "rows.json",
        "train": {"connector.image": "full"},
        "max_steps": 2,
        "batch_size": 2,
        **stage,
    }
    (folder / name).write_text(yaml.safe_dump({"model": "model", "output": f"runs-{name}", "stages": [stage]}))
    return name


def test_train_then_ask_about_a_picture(place):
    done = tinyllava("train", recipe(place), cwd=place)
    assert done.returncode == 0, done.stderr
    trained = place / "runs-recipe.yaml" / "joint"
    assert (trained / "log.json").exists()
    asked = tinyllava("ask", trained, "--image", "images/0.png", "what?", "--max-new-tokens", "4", cwd=place)
    assert asked.returncode == 0, asked.stderr
    again = tinyllava(
        "ask", trained, "--item", "image=images/0.png", "<image>\nwhat?", "--max-new-tokens", "4", cwd=place
    )
    assert again.stdout == asked.stdout
