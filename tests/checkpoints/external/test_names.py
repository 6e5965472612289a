"""Names of other checkpoints: where they are looked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.checkpoints.copies import CASE, LEGACY, change_config, change_weights, copied
from tests.golden_models import GOLDEN
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.checking import check
from tinyllava_kit.checkpoints.external.names import Names
from tinyllava_kit.checkpoints.loading import load_pretrained


def test_a_tower_that_was_not_saved_comes_from_the_checkpoint_that_is_named(tmp_path):
    name = "legacy_llama_clip_mlp2x_gelu"
    folder = copied(LEGACY / name, tmp_path / "model")
    change_weights(folder, lambda s: [s.pop(k) for k in list(s) if "vision_tower" in k])
    with pytest.raises(KitError, match=r"names the vision model 'assets/clip-tiny' .* with --names-from DIR$"):
        load_pretrained(folder)
    model, _ = load_pretrained(folder, names_from=str(GOLDEN))
    weights = load_file(GOLDEN / "assets" / "clip-tiny" / "model.safetensors")
    key = next(k for k in weights if k.endswith("embeddings.class_embedding") and "vision" in k)
    assert torch.equal(model.towers["image"].embeddings.class_embedding, weights[key])


def test_pictures_are_preprocessed_as_the_named_vision_model_does_or_by_defaults(tmp_path):
    _, processor = load_pretrained(CASE)  # clip-tiny stands in the folder `assets` above it
    own = json.loads((GOLDEN / "assets" / "clip-tiny" / "preprocessor_config.json").read_text())
    assert list(processor.preprocessors["image"].mean) == pytest.approx(own["image_mean"])
    checked = check(change_config(copied(CASE, tmp_path / "alone"), vision_model_name_or_path="nowhere"))
    assert checked.notes == ("no image processor came with the checkpoint: ClipPreprocessor's defaults at (28, 28) px",)


def folder(path: Path, model_type: str = "clip_vision_model", **settings) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"model_type": model_type, **settings}))
    return path


def test_a_name_is_looked_for_where_it_is_said_then_here_then_beside_and_above(tmp_path, monkeypatch):
    checkpoint = tmp_path / "a" / "b" / "c" / "model"
    checkpoint.mkdir(parents=True)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    names, told = Names(checkpoint), Names(checkpoint, str(tmp_path / "told"))
    assert names.find("org/tower") is None
    places = [tmp_path / "a", tmp_path / "a" / "b" / "assets", checkpoint, here / "assets"]
    for place in places:  # each is nearer than the one before
        folder(place / "org" / "tower")
        assert Path(names.find("org/tower")).resolve() == place / "org" / "tower"
    folder(tmp_path / "told" / "org" / "tower")
    assert told.find("org/tower") == str(tmp_path / "told" / "org" / "tower")
    assert names.find("") is None
    folder(tmp_path / "far")
    assert names.find("far") is None  # four folders above


def test_a_name_of_the_hub_is_asked_for_only_where_that_may_be(tmp_path, monkeypatch):
    names = Names(tmp_path)
    assert names.candidates("org/tower") == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("tinyllava_kit.checkpoints.external.names.offline", lambda: False)
    assert names.candidates("org/tower") == ["org/tower"]
    assert names.candidates("tower") == names.candidates("a/b/c") == []
    place = folder(tmp_path / "org" / "tower")
    assert list(map(Path, names.candidates("org/tower"))) == [place]


def test_a_vision_model_is_described_by_its_folder_by_its_part_of_one_or_by_its_name(tmp_path):
    names = Names(tmp_path)
    folder(tmp_path / "alone", hidden_size=22, num_attention_heads=2)
    folder(tmp_path / "both", "clip", vision_config={"hidden_size": 26, "num_attention_heads": 2})
    assert names.vision_config("alone")["hidden_size"] == 22
    assert (found := names.vision_config("both"))["hidden_size"] == 26
    assert found["model_type"] == "clip_vision_model"
    known = names.vision_config("openai/clip-vit-large-patch14-336")
    assert (known["image_size"], known["hidden_size"]) == (336, 1024)
    known["image_size"] = 1
    assert names.vision_config("openai/clip-vit-large-patch14-336")["image_size"] == 336  # each caller has its own
    with pytest.raises(
        KitError, match=r"names the vision model 'org/none' and does not describe it; .* --names-from DIR"
    ):
        names.vision_config("org/none")


def test_json_of_a_folder_that_is_not_here_is_none(tmp_path):
    folder(tmp_path / "bert", "bert", hidden_size=3)
    assert Names(tmp_path).json("bert") == {"model_type": "bert", "hidden_size": 3}
    assert Names(tmp_path).json("other") is None
