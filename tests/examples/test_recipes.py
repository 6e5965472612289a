"""Every recipe that is shipped runs, on toy models, as it stands but for layers and sizes that toys do not have."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests import toys
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

RECIPES = Path(__file__).parents[2] / "examples" / "recipes"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    llm = toys.save_llama(folder / "llm", hidden=64)
    for part in toys.assemble(toys.picture_assembly(llm)):
        part.save_pretrained(folder / "model")
    rows = toys.picture_rows(folder / "data", 9)
    for name in ("pretrain", "instruct", "captions"):
        shutil.copy(rows, folder / "data" / f"{name}.json")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_recipe_runs(place, monkeypatch, path):
    monkeypatch.chdir(place)
    text = path.read_text(encoding="utf-8").replace("from_layer: 12", "from_layer: 0").replace("rank: 128", "rank: 4")
    Recipe.from_yaml(path)
    done = run_recipe(Recipe.model_validate(yaml.safe_load(text)))
    assert done.name == Recipe.from_yaml(path).stages[-1].name
    assert (done / "model.safetensors").exists()


def test_the_page_names_every_recipe():
    page = (RECIPES / "README.md").read_text(encoding="utf-8")
    assert all(f"({path.name})" in page for path in RECIPES.glob("*.yaml"))
