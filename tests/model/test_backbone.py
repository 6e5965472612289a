"""A model's ``base_model``: the model without its head, as programs that have a loss of their own ask for it."""

from __future__ import annotations

import copy

import pytest
import torch
from PIL import Image

from tests import toys
from tinyllava_kit.errors import FusionError
from tinyllava_kit.pretrained.cache_name import CACHE


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbone")
    toys.save_pictures(folder, 2)
    model, processor = toys.picture_model(folder / "llm")
    parts = [{"type": "image", "image": Image.open(folder / "0.png")}, {"type": "text", "text": "what?"}]
    asked = [[{"role": "user", "content": parts}], [{"role": "user", "content": "none, and longer?"}]]
    return model.eval(), processor(asked)


@pytest.mark.parametrize("training", [False, True])
def test_its_hidden_states_and_the_head_give_the_logits(made, training):
    model, batch = made
    model.train(training)
    with torch.no_grad():
        out = model.base_model(**batch, use_cache=False)
        hidden = out.last_hidden_state
        assert hidden.shape == (*batch["input_ids"].shape, 24)
        torch.testing.assert_close(model.get_output_embeddings()(hidden), model(**batch).logits)
        assert torch.equal(hidden, model(**batch, output_hidden_states=True).hidden_states[-1])
    assert CACHE not in out
    assert "logits" not in out
    model.eval()


def test_gradients_pass_it(made):
    model, batch = made
    model.train()
    model.base_model(**batch).last_hidden_state.square().mean().backward()
    assert all(p.grad is not None for p in model.connectors.parameters())
    model.zero_grad()
    model.eval()


def test_what_else_it_is_asked_the_model_answers(made):
    model, batch = made
    base = model.base_model
    assert base is not model
    assert base.get_input_embeddings() is model.get_input_embeddings()
    assert base.config is model.config
    base.marked = 3
    assert model.__dict__.pop("marked") == 3
    assert copy.copy(base).config is model.config
    with pytest.raises(AttributeError, match="nothing"):
        _ = base.nothing
    with pytest.raises(FusionError, match="does not belong to the plan"):
        base(**{**batch, "input_ids": batch["input_ids"][:, 1:]})
