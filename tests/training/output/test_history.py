"""What is kept of a stage with its model, and may be given away."""

from __future__ import annotations

import json

import pytest

from tests import toys
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.training.output.history import _command_line

pytestmark = pytest.mark.slow


def test_what_may_be_given_away_names_no_folder_of_this_machine(left, monkeypatch):
    for file in (left / "second").rglob("*"):
        if file.is_file() and "checkpoints" not in file.parts:
            assert str(left.parent).encode() not in file.read_bytes(), file.name
    config = json.loads((left / "second" / "config.json").read_text())
    assert (config["llm"]["checkpoint"], config["towers"]["image"]["checkpoint"]) == ("llm", toys.CLIP.name)
    (stage,) = json.loads((left / "first" / "training.json").read_text())
    assert stage["settings"]["data"][0]["path"] == stage["recipe"]["data"][0]["path"] == "rows.json"
    monkeypatch.setattr("sys.argv", ["/usr/bin/tinyllava", "train", "/home/me/a recipe.yaml", "--stage=/x/joint"])
    assert _command_line() == "tinyllava train 'a recipe.yaml' --stage=joint"


def test_the_history_goes_with_the_model(left):
    first, second = json.loads((left / "second" / "training.json").read_text())
    assert json.loads((left / "first" / "training.json").read_text()) == [first]
    assert (first["name"], second["name"]) == ("first", "second")
    assert first["samples"] == 6
    parts = {part["name"]: part for part in second["parts"]}
    assert parts["connector.image"]["weight_decay"] == 0.1
    assert parts["llm"]["mode"] == "lora"
    model, _ = load_pretrained(left / "second")
    assert parts["llm"]["parameters"] == sum(p.numel() for p in model.language_model.parameters())
    assert 0 < parts["llm"]["trained"] < parts["llm"]["parameters"]
