"""The way of a user: assemble, train, ask, on toy checkpoints."""

from __future__ import annotations

import pytest

from tests.cli.running import assembled_in, write_recipe
from tests.processes import tinyllava

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with checkpoints, rows, pictures and an assembled model."""
    return assembled_in(tmp_path_factory.mktemp("user"))


def test_train_then_ask_about_a_picture(place):
    done = tinyllava("train", write_recipe(place), cwd=place)
    assert done.returncode == 0, done.stderr
    trained = place / "runs-recipe.yaml" / "joint"
    assert (trained / "log.json").exists()
    asked = tinyllava("ask", trained, "--image", "images/0.png", "what?", "--max-new-tokens", "4", cwd=place)
    assert asked.returncode == 0, asked.stderr
    again = tinyllava(
        "ask", trained, "--item", "image=images/0.png", "<image>\nwhat?", "--max-new-tokens", "4", cwd=place
    )
    assert again.stdout == asked.stdout
