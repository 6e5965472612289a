"""The towers of a model by the names that transformers has for encoders."""

from __future__ import annotations

import pytest
import torch

from tests.toys import picture_batch
from tinyllava_kit import KitError, TinyLlavaForConditionalGeneration


def test_a_modality_has_its_encoder_and_its_features(made):
    model, processor = made
    inputs = picture_batch(processor)["items"]["image"]
    assert model.get_encoder("image") is model.towers["image"]
    features = model.get_image_features(**inputs)
    assert torch.equal(features.last_hidden_state, model.towers["image"](**inputs).features)
    assert torch.equal(features.pooler_output, model.encode("image", inputs))
    last, pooled = model.get_image_features(inputs["pixel_values"], return_dict=False)
    assert torch.equal(last, features.last_hidden_state)
    assert torch.equal(pooled, features.pooler_output)
    with pytest.raises(KitError, match=r"get_image_features takes .* not output_hidden_states: a tower gives its"):
        model.get_image_features(**inputs, output_hidden_states=True)
    unasked = model.get_image_features(**inputs, output_hidden_states=False, output_attentions=None)
    assert torch.equal(unasked.pooler_output, features.pooler_output)
    for call in (lambda: model.get_encoder("audio"), lambda: model.get_audio_features):
        with pytest.raises(KitError, match="the model does not read 'audio'; it reads image"):
            call()


def test_a_tower_is_exchanged_through_transformers_name(made):
    model, _ = made
    other = TinyLlavaForConditionalGeneration(model.config).towers["image"]
    model.set_encoder(other, "image")
    assert model.get_encoder("image") is other
