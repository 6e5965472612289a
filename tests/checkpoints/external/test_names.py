"""Names of other checkpoints: where they are looked for."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.checkpoints.copies import CASE, LEGACY, change_config, change_weights, copied
from tests.golden_models import GOLDEN
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.checking import check
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
