"""Settings that are kept with a stage: other ones, and weights that the stage did not leave, are refused."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.training.runs import Killed, train, write_dropout_recipe
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.data.sources import Source
from tinyllava_kit.model.storage.replaced import save_together
from tinyllava_kit.training.loop import trainer
from tinyllava_kit.training.output.recorded_settings import check_same, settings_of, write_settings
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = pytest.mark.slow


def test_a_model_that_the_stage_did_not_leave_is_not_taken_for_it(place):
    """Another one was assembled, or copied, into its directory; without the digests of an earlier version it is."""
    done = train(place, "replaced", max_steps=3)
    settings, own = done / "stage.json", (done / "model.safetensors").read_bytes()
    wrong = r"stage s: .*replaced/s' holds a model that this stage did not train; remove the directory"
    shutil.copyfile(place / "model" / "model.safetensors", done / "model.safetensors")
    with pytest.raises(KitError, match=wrong):
        train(place, "replaced", max_steps=3)
    left = json.loads(settings.read_text())
    del left["weights"]
    settings.write_text(json.dumps(left))
    train(place, "replaced", max_steps=3)
    (done / "model.safetensors").write_bytes(own)
    save_together(done, *load_pretrained(place / "model"))
    assert not (done / "training.json").exists()
    with pytest.raises(KitError, match=wrong):
        train(place, "replaced", max_steps=3)


def test_a_stage_that_was_run_with_other_settings_is_refused(place):
    train(place, "changed", max_steps=1)
    with pytest.raises(KitError, match=r"stage s: .*changed/s' was trained with max_steps 1, the recipe has 2; remove"):
        train(place, "changed", max_steps=2)


def test_a_run_that_was_interrupted_does_not_go_on_with_other_settings(place, monkeypatch):
    path = write_dropout_recipe(place, "changed later", max_steps=4, save_steps=2)
    with monkeypatch.context() as patch:
        patch.setattr(trainer.KitTrainer, "_save_rng_state", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run_recipe(Recipe.from_yaml(path))
    larger = write_dropout_recipe(place, "changed later", max_steps=4, save_steps=2, batch_size=3)
    with pytest.raises(KitError, match=r"was trained with batch_size 2, the recipe has 3; remove the directory"):
        run_recipe(Recipe.from_yaml(larger))


def test_a_stage_knows_its_settings_without_their_folders(place, tmp_path):
    stage = Recipe.model_validate(
        {"model": "m", "output": "o", "stages": [{"name": "s", "data": "/data/rows.json", "train": {"llm": "full"}}]}
    ).stages[0]
    settings = settings_of(stage, place, 0)
    write_settings(settings, tmp_path)
    assert "/data" not in (tmp_path / "stage.json").read_text()
    check_same(settings, stage, tmp_path)
    (tmp_path / "stage.json").write_text(json.dumps(settings))  # as a version before wrote it
    check_same(settings, stage, tmp_path)
    other = settings_of(stage.model_copy(update={"data": (Source(path="/other/rows.json"),)}), place, 0)
    with pytest.raises(KitError, match=r"was trained with data .*rows.json \(in a folder of digest "):
        check_same(other, stage, tmp_path)
