"""A model is built of its blueprint with the weights of its parts, in the dtype that is asked for."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, CLIPVisionModel

from tests import toys
from tinyllava_kit.assembly.building import assemble


def test_weights_are_those_of_the_checkpoints_and_connectors_are_new(blueprint, parts):
    model, processor = assemble(blueprint)
    llm = AutoModelForCausalLM.from_pretrained(parts.llm.checkpoint)
    for name, value in llm.state_dict().items():
        assert torch.equal(model.language_model.state_dict()[name], value), name
    tower = CLIPVisionModel.from_pretrained(toys.CLIP).state_dict()
    found = {name: value for name, value in model.towers["image"].state_dict().items() if "layers.0" in name}
    assert found
    assert all(any(torch.equal(value, each) for each in tower.values()) for value in found.values())
    assert any(weight.abs().sum() > 0 for weight in model.connectors.parameters())
    assert not model.training
    assert processor.tokenizer.vocab_size == llm.config.vocab_size
    assert model.generation_config.eos_token_id == llm.generation_config.eos_token_id


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_parts_have_the_dtype_that_is_asked_for(parts, dtype):
    model, _ = assemble(parts, dtype=dtype)
    assert {weight.dtype for weight in model.parameters()} == {dtype}
    assert model.config.dtype == dtype
