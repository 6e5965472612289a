"""A checkpoint that is not what was written, and data that are not what it learned from, are refused."""

from __future__ import annotations

import json
import shutil

import pytest

from tests import toys
from tests.training.runs import write_recipe
from tinyllava_kit import KitError
from tinyllava_kit.training.loop import trainer
from tinyllava_kit.training.output.checkpoints import DIGESTS_FILE, check_whole, last_checkpoint, seal
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    toys.save_picture_model(folder)
    toys.picture_rows(folder, 5)
    return folder


@pytest.fixture
def two(tmp_path):
    for step in (2, 10):
        folder = tmp_path / f"checkpoint-{step}"
        (folder / "shards").mkdir(parents=True)
        for name in ("trained.safetensors", "optimizer.pt", "shards/rank_0", "empty"):
            (folder / name).write_bytes(b"" if name == "empty" else name.encode() * step)
        seal(folder, {"model": "m"})
    return tmp_path


def flip(path, at=-1):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a bit": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "gone": lambda path: path.unlink(),
}


def test_a_whole_checkpoint_says_what_it_learned_from(two):
    assert last_checkpoint(two).name == "checkpoint-10"
    assert check_whole(two / "checkpoint-10") == {"model": "m"}
    assert last_checkpoint(two / "none") is None


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["trained.safetensors", "optimizer.pt", "shards/rank_0"])
def test_every_damage_of_every_file_is_refused_and_the_one_before_is_offered(two, name, damage):
    last = last_checkpoint(two)
    DAMAGES[damage](last / name)
    why = "is gone" if damage == "gone" else "has changed since it was written"
    offer = rf"checkpoint-10 is damaged: {name} {why}; remove '{last}' to resume from checkpoint-2$"
    with pytest.raises(KitError, match=offer):
        check_whole(last)
    shutil.rmtree(last)
    last = last_checkpoint(two)
    check_whole(last)
    DAMAGES[damage](last / name)
    with pytest.raises(KitError, match=rf"remove '{last}' to start the stage again$"):
        check_whole(last)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"files": 3, "provenance": {}}', b"\xff"])
def test_digests_that_are_lost_are_a_damage(two, content):
    file = two / "checkpoint-10" / DIGESTS_FILE
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(KitError, match=rf"checkpoint-10 is damaged: {DIGESTS_FILE} is gone or damaged; remove"):
        check_whole(two / "checkpoint-10")


def test_the_run_is_refused_before_a_model_is_loaded_and_goes_on_from_the_one_before(place, monkeypatch):
    stage = {"data": str(place / "rows.json"), "train": {"connector.image": "full"}, "batch_size": 2}
    stage |= {"max_steps": 6, "save_steps": 2}
    whole = run_recipe(Recipe.from_yaml(write_recipe(place, "whole", stage)))
    path = write_recipe(place, "damaged", stage)

    def clip(self, model):
        if self.state.global_step == 5:
            raise InterruptedError
        return keep(self, model)

    keep = trainer.KitTrainer._clip_grad_norm
    with monkeypatch.context() as patch:
        patch.setattr(trainer.KitTrainer, "_clip_grad_norm", clip)
        with pytest.raises(InterruptedError):
            run_recipe(Recipe.from_yaml(path))
    folder = place / "damaged" / "s" / "checkpoints"
    assert sorted(each.name for each in folder.iterdir()) == ["checkpoint-2", "checkpoint-4", "stage.json"]
    flip(folder / "checkpoint-4" / "optimizer.pt", 1000)
    with monkeypatch.context() as patch:
        patch.setattr(
            "tinyllava_kit.training.preparation.load_pretrained", lambda *_, **__: pytest.fail("it was loaded")
        )
        with pytest.raises(KitError, match=r"stage 's': checkpoint-4 is damaged: optimizer\.pt has changed"):
            run_recipe(Recipe.from_yaml(path))
    shutil.rmtree(folder / "checkpoint-4")
    rows = json.loads((place / "rows.json").read_text())
    with monkeypatch.context() as patch:
        patch.setattr("tinyllava_kit.data.sources.iterate_rows", lambda *_: iter(rows[:-1]))
        with pytest.raises(KitError, match=r"number of its samples has changed since checkpoint-2 .* from 5 to 4"):
            run_recipe(Recipe.from_yaml(path))
    resumed = run_recipe(Recipe.from_yaml(path))
    assert (resumed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert [each.name for each in sorted(folder.iterdir())] == ["checkpoint-6", "stage.json"]
