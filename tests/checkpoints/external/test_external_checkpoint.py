"""What follows from an external checkpoint's files for every layout."""

from __future__ import annotations

import json

import pytest

from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.external.external_checkpoint import image_processor_of, row_scale_in_transformers_4


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"model_type": "gemma", "hidden_size": 64}, 8.0),
        ({"model_type": "gemma2", "hidden_size": 64}, 1.0),
        ({"model_type": "llama", "hidden_size": 64}, 1.0),
        ({}, 1.0),
    ],
)
def test_the_older_gemma_alone_scaled_what_came_in(config, scale):
    assert row_scale_in_transformers_4(config) == scale


def test_an_image_processor_is_read_the_new_way_before_the_older(tmp_path):
    assert image_processor_of(tmp_path) is None
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 3}))
    assert image_processor_of(tmp_path) == {"size": 3}
    (tmp_path / "processor_config.json").write_text(json.dumps({"processor_class": "P"}))
    assert image_processor_of(tmp_path) == {"size": 3}  # where the newer file says nothing of it
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": {"size": 5}}))
    assert image_processor_of(tmp_path) == {"size": 5}


@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
@pytest.mark.parametrize(("text", "told"), [("{", "not JSON"), ("[]", "expected a mapping, got list")])
def test_settings_that_are_none_are_named(tmp_path, name, text, told):
    (tmp_path / name).write_text(text)
    with pytest.raises(KitError, match=f"{name}.*{told}"):
        image_processor_of(tmp_path)
