"""Adapters that a stage keeps: in peft's form, and merged into a model again."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from click.testing import CliRunner
from peft import PeftModel

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.adapters import merge_adapters
from tinyllava_kit.checkpoints.card import read_history
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe
from tinyllava_kit_cli import app

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    toys.save_picture_model(folder)
    lora = {"mode": "lora", "lora": {"rank": 2, "keep": True}}
    stage = {"name": "s", "data": str(toys.picture_rows(folder)), "train": {"llm": lora, "tower.image": lora}}
    stage |= {"learning_rate": 1e-2, "max_steps": 2}
    recipe = {"model": str(folder / "model"), "output": str(folder / "out"), "stages": [stage]}
    run_recipe(Recipe.model_validate(recipe))
    return folder


def same(one, other):
    return all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)


def test_adapters_merged_into_the_model_they_began_with_give_the_model_that_was_trained(place):
    model, _ = load_pretrained(place / "model")
    trained, _ = load_pretrained(place / "out" / "s")
    assert not same(model.state_dict(), trained.state_dict())
    assert merge_adapters(model, place / "out" / "s") == ["llm", "tower.image"]
    assert model.state_dict().keys() == trained.state_dict().keys()
    assert same(model.state_dict(), trained.state_dict())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # in peft itself
def test_peft_reads_them(place):
    model, _ = load_pretrained(place / "model")
    trained, _ = load_pretrained(place / "out" / "s")
    with_adapters = PeftModel.from_pretrained(model.language_model, place / "out" / "s" / "adapters" / "llm")
    ids = torch.arange(5, 15)[None]
    with torch.no_grad():
        assert torch.allclose(with_adapters(ids).logits, trained.language_model(ids).logits, atol=1e-5)


def test_the_command_takes_those_of_some_parts_alone(place):
    some = place / "llm-alone"
    shutil.copytree(place / "out" / "s" / "adapters" / "llm", some / "adapters" / "llm")
    arguments = ["merge", str(place / "model"), str(place / "merged"), "--adapters", str(some)]
    done = CliRunner().invoke(app.cli, arguments)
    assert done.exit_code == 0, done.output
    found, trained, before = (load_pretrained(place / name)[0] for name in ("merged", "out/s", "model"))
    assert same(found.language_model.state_dict(), trained.language_model.state_dict())
    assert same(found.towers.state_dict(), before.towers.state_dict())


def test_the_command_keeps_the_history_and_says_what_it_leaves(place):
    stage = place / "with-a-connector"
    shutil.copytree(place / "out" / "s", stage)
    (record,) = read_history(stage)
    record["parts"].append({**record["parts"][0], "name": "connector.image", "mode": "full"})
    (stage / "training.json").write_text(json.dumps([record]))
    arguments = ["merge", str(place / "model"), str(place / "whole"), "--adapters", str(stage)]
    done = CliRunner().invoke(app.cli, arguments)
    assert done.exit_code == 0, done.output
    assert "only adapters are taken, not its connector.image" in done.stderr
    assert read_history(place / "whole") == [record]
    assert "# whole" in (place / "whole" / "README.md").read_text()
    done = CliRunner().invoke(app.cli, ["merge", str(stage), str(place / "again"), "--adapters", str(stage)])
    assert "only adapters" not in done.stderr  # it is in the model already
    assert read_history(place / "again") == [record]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "adapters"), "holds no adapters"),
        (lambda folder: (folder / "adapters" / "llm").rename(folder / "adapters" / "lm"), "the model has no part 'lm'"),
        (lambda folder: (folder / "adapters/llm/adapter_model.safetensors").write_bytes(b"no"), "does not fit"),
        (lambda folder: (folder / "adapters/llm/adapter_config.json").write_text("{"), "not JSON"),
        (
            lambda folder: shutil.copytree(
                folder / "adapters/tower.image", folder / "adapters/llm", dirs_exist_ok=True
            ),
            "does not fit|do not belong",
        ),
    ],
)
def test_what_does_not_fit_is_refused(place, tmp_path, spoil, message):
    shutil.copytree(place / "out" / "s" / "adapters", tmp_path / "adapters")
    spoil(tmp_path)
    model, _ = load_pretrained(place / "model")
    with pytest.raises(KitError, match=message):
        merge_adapters(model, tmp_path)
