"""transformers' Llava, with its names of today and the older ones."""

from __future__ import annotations

import shutil

import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from tests.checkpoints.copies import CASE, change_config, change_weights, copied, logits_of
from tests.golden_models import largest
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.checking import check
from tinyllava_kit.checkpoints.loading import load_pretrained


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    """A toy of transformers' own class, with the golden tokenizer."""
    folder = tmp_path_factory.mktemp("llava")
    torch.manual_seed(5)
    text = LlamaConfig(vocab_size=320, hidden_size=24, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4)
    vision = CLIPVisionConfig(
        hidden_size=20, intermediate_size=36, num_hidden_layers=3, num_attention_heads=2, image_size=28, patch_size=14
    )
    config = LlavaConfig(text_config=text, vision_config=vision, image_token_index=319)
    model = LlavaForConditionalGeneration(config).eval()
    model.save_pretrained(folder)
    for name in ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(CASE / name, folder)
    return folder, model


@pytest.mark.parametrize("old_names", [False, True])
def test_transformers_llava_gives_the_logits_of_its_own_class(llava, tmp_path, old_names):
    folder, theirs = llava
    folder = copied(folder, tmp_path / "copy")
    if old_names:  # those of before transformers 4.52, which model hubs are full of
        change_weights(folder, rename_to_old)
    ours, _ = load_pretrained(folder)
    pixels = torch.randn(1, 3, 28, 28)
    ids = torch.tensor([[1, 17, -200, 30, 31]])
    logits, real = logits_of(ours.eval(), {"in.input_ids": ids, "in.images": pixels})
    long = torch.tensor([[1, 17, *[319] * 4, 30, 31]])
    with torch.no_grad():
        expected = theirs(input_ids=long, pixel_values=pixels, attention_mask=torch.ones_like(long)).logits
    assert largest(logits[real], expected[0]) < 1e-4


def rename_to_old(state):
    for key in list(state):
        new = key
        for theirs, old in (
            ("model.language_model.", "language_model.model."),
            ("lm_head.", "language_model.lm_head."),
        ):
            if key.startswith(theirs):
                new = old + key.removeprefix(theirs)
        new = new.removeprefix("model.") if new.startswith(("model.vision", "model.multi")) else new
        state[new] = state.pop(key)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"vision_feature_layer": [-2, -1]}, r"vision_feature_layer \[-2, -1\]: several layers are not read"),
        ({"projector_hidden_act": "relu"}, "projector_hidden_act 'relu' is not read; 'gelu' is"),
        ({"multimodal_projector_bias": False}, "multimodal_projector_bias False is not read; True is"),
    ],
)
def test_an_option_without_a_counterpart_is_refused(llava, tmp_path, changes, told):
    folder = change_config(copied(llava[0], tmp_path / "model"), **changes)
    with pytest.raises(KitError, match=told):
        check(folder)
