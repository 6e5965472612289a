"""Several processes train a decoder that makes items of words, and some of their batches hold no item of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.strokes import CORNER, DRAWING, LINE, drawing_model
from tests.strokes import drawing as installed  # noqa: F401 (a fixture)
from tests.training.processes import finish, start
from tests.training.runs import losses, weights, write_recipe
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = pytest.mark.slow


@pytest.fixture
def place(installed, tmp_path, monkeypatch) -> Path:  # noqa: F811
    """A model and rows, half of them without a drawing; the plugin is installed for processes, too."""
    folders = (str(tmp_path / "site"), str(DRAWING / "src"), os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))
    for part in drawing_model(tmp_path, decoder="strokes_talker"):
        part.save_pretrained(tmp_path / "model")
    rows = []
    for number in range(8):
        (tmp_path / f"{number}.json").write_text(json.dumps((LINE, CORNER)[number % 4 // 2]))
        said = {"type": "drawing", "drawing": f"{number}.json"}
        answer = [f"this is {number}", said] if number % 2 else f"none of {number}"
        rows.append({"messages": [{"role": "user", "content": "draw"}, {"role": "assistant", "content": answer}]})
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def recipe(place: Path, name: str, **stage: object) -> Path:
    stage = {
        "data": str(place / "rows.jsonl"),
        "train": {"decoder.drawing": "full", "llm": "full"},
        "group_by_size": True,
        "batch_size": 2,
        "logging_steps": 1,
        "warmup_ratio": 0,
        "epochs": 2,
        **stage,
    }
    return write_recipe(place, name, stage)


@pytest.mark.parametrize("module", ["tinyllava_kit_cli", "tests.training.fsdp_on_cpu"], ids=["whole", "sharded"])
def test_two_processes_do_what_one_does(module, place):
    words = ["train"] if module == "tinyllava_kit_cli" else []
    done = finish(start(["-m", module, *words, str(recipe(place, "two"))]), seconds=300)
    assert [code for code, _, _ in done] == [0, 0], done
    run_recipe(Recipe.from_yaml(recipe(place, "one", gradient_accumulation=2)))
    one, two = losses(place, "one"), losses(place, "two")
    assert len(one) == len(two) > 1
    assert one == pytest.approx(two, abs=1e-4)
    before, first, second = (weights(place / name) for name in ("model", "one/s", "two/s"))
    assert (first - second).norm() < 0.01 * (first - before).norm()
