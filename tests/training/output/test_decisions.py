"""What a stage measures when it begins: the same way is taken by every run that resumes it."""

from __future__ import annotations

import pytest

from tests.training.runs import write_short_recipe
from tinyllava_kit import KitError
from tinyllava_kit.training.output.decisions import decided, forget_decisions
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe


def test_decisions_are_separate_and_can_be_forgotten(tmp_path):
    assert decided(tmp_path, "cached", lambda: True)
    assert not decided(tmp_path, "bf16", lambda: False)
    assert decided(tmp_path, "cached", lambda: pytest.fail("it was decided before"))
    forget_decisions(tmp_path)
    assert not decided(tmp_path, "cached", lambda: False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stage.json", "cached.json", "bf16.json"])
@pytest.mark.parametrize("content", ["", "[", "3"])
def test_small_files_that_are_damaged_say_what_to_remove(place, name, content):
    path = write_short_recipe(place, "small", cache_features="auto", bf16="auto")
    file = place / "small" / "s" / "checkpoints" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    try:
        with pytest.raises(KitError, match=rf"stage 's': '{file}' is damaged.*; remove '{file.parent}' to start again"):
            run_recipe(Recipe.from_yaml(path))
    finally:
        file.unlink()
