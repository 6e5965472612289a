"""How much of a part is trained: layers from a number on, adapters on a quantized LLM, nothing; and what is refused."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe
from tinyllava_kit.training.stage_settings import PartTraining
from tinyllava_kit.training.trained_parts import OpenParts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modes")
    toys.save_picture_model(folder)
    toys.picture_rows(folder)
    return folder


def recipe(place, name, **stage):
    stage = {"name": "s", "data": str(place / "rows.json"), "learning_rate": 1e-2, "max_steps": 2, **stage}
    return Recipe.model_validate({"model": str(place / "model"), "output": str(place / name), "stages": [stage]})


def changed(place, directory):
    before, after = (load_pretrained(each)[0].state_dict() for each in (place / "model", directory))
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_layers_from_a_number_on_are_trained_and_no_others(place):
    train = {"llm": {"mode": "partial", "from_layer": 1}, "connector.image": "frozen"}
    names = changed(place, run_recipe(recipe(place, "partial", train=train)))
    assert names
    assert all(name.startswith("language_model.model.layers.1.") for name in names)


@pytest.mark.parametrize(
    ("part", "how", "message"),
    [
        ("llm", {"mode": "partial", "from_layer": 2}, r"train\.llm: from_layer 2, but its layers are 0 to 1"),
        ("connector.image", {"mode": "partial", "from_layer": 0}, r"train\.connector\.image: has no one stack of"),
    ],
)
def test_layers_that_are_not_there_are_refused(place, part, how, message):
    model, _ = load_pretrained(place / "model")
    with pytest.raises(KitError, match=message):
        OpenParts(model, {part: PartTraining(**how)})


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"train": {"llm": "frozen"}}, "stage s: every part is frozen"),
        ({"train": {"llm": "partial"}}, "mode partial and from_layer require each other"),
        ({"train": {"llm": {"mode": "full", "from_layer": 1}}}, "mode partial and from_layer require each other"),
        ({"train": {"llm": "full"}, "quantization": {"bits": 4}}, "stage s: quantization is for adapters on the LLM"),
        ({"train": {"connector.image": "full"}, "quantization": {"bits": 8}}, "quantization is for adapters"),
    ],
)
def test_what_trains_nothing_or_cannot_be_is_refused(place, stage, message):
    with pytest.raises(ValidationError, match=message):
        recipe(place, "refused", **stage)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A model whose LLM has layers wide enough for 4 bits."""
    folder = tmp_path_factory.mktemp("wide")
    llm = toys.save_llama(folder / "llm", hidden=64)
    for part in toys.assemble(toys.picture_assembly(llm)):
        part.save_pretrained(folder / "model")
    toys.picture_rows(folder)
    return folder


@pytest.mark.parametrize("bits", [4, 8])
def test_adapters_on_a_quantized_llm_are_added_to_its_own_weights(wide, bits):
    train = {"llm": "lora", "connector.image": "full"}
    done = run_recipe(recipe(wide, f"q{bits}", train=train, quantization={"bits": bits}))
    before, after = (load_pretrained(each)[0].state_dict() for each in (wide / "model", done))
    assert before.keys() == after.keys()
    names = {name for name in before if not torch.equal(before[name], after[name])}
    assert {n for n in names if n.startswith("connectors.")} == {n for n in before if n.startswith("connectors.")}
    learned = {n for n in names if n.startswith("language_model.")}
    assert learned
    for name in learned:  # low-rank, on weights that were never rounded
        assert torch.linalg.matrix_rank(after[name].float() - before[name].float(), atol=1e-5) <= 16
        assert ".mlp." in name or ".self_attn." in name
