"""What modalities, preprocessors, towers, connectors and LLMs do where a component says nothing of its own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, CLIPConfig, LlamaConfig, LlavaConfig, T5Config

from tinyllava_kit import KitError
from tinyllava_kit.core.interfaces import Connector, LanguageModel, Modality, Preprocessor, QuietWhenFrozen, is_trained


class Things(Modality):
    def read(self, source):
        return f"read {source}"


class Rows(Preprocessor):
    __call__ = num_features = settings = from_settings = lambda self, *_: pytest.fail("is not asked")


class Joint(Connector):
    def forward(self, features):
        return features.features


def test_a_modality_that_only_reads_has_the_rest_by_default():
    things = Things()
    assert (things.measure("a"), things.probe("a")) == (1.0, "read a")
    assert (things.decoded_bytes(np.zeros((3, 5), np.int16)), things.decoded_bytes("text")) == (30, 0)
    assert things.expand("item", Rows()) == ["item"]
    assert things.draw(None, "item", Rows(), 4, (2, 2)) is None
    assert things.join(["whole"]) == "whole"
    things.check_name("any.name")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda things: things.blank("a"), "Things has no blank item; leave the control with blank items out"),
        (lambda things: things.join(["a", "b", "c"]), r"Things cannot join 3 pieces of an item; it must give join\(\)"),
        (lambda things: things.join([]), "Things cannot join 0 pieces"),
        (lambda things: things.write("a", "a.out"), r"a\.out: Things cannot write a file; it must give write\(\)"),
    ],
)
def test_what_a_modality_does_not_give_is_refused_by_name(call, message):
    with pytest.raises(KitError, match=message):
        call(Things())


def test_rows_are_stacked_name_by_name():
    rows = [{"x": torch.full((2, 3), float(n)), "n": torch.tensor(n)} for n in range(5)]
    found = Rows().collate(rows)
    assert found["x"].tolist() == [[[float(n)] * 3] * 2 for n in range(5)]
    assert found["n"].tolist() == [0, 1, 2, 3, 4]
    assert Rows().fixed_features is None


def test_a_part_of_which_nothing_is_trained_stays_in_eval():
    class Part(QuietWhenFrozen):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(2, 2), nn.Dropout())

    part = Part().train()
    assert (part.training, part.layers[1].training, is_trained(part)) == (True, True, True)
    part.requires_grad_(False).train()
    assert (part.training, part.layers[1].training, is_trained(part)) == (False, False, False)
    part.layers[0].bias.requires_grad_(True)
    assert part.train().layers[1].training
    assert not part.eval().training
    assert not is_trained(nn.Dropout())


def test_a_connector_keeps_rows_as_they_are_by_default():
    joint = Joint(in_dim=3, out_dim=5, grid=(2, 7))
    assert (joint.in_dim, joint.out_dim, joint.grid) == (3, 5, (2, 7))
    assert (joint.num_tokens(14), joint.num_tokens(0), joint.sources(14)) == (14, 0, None)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (T5Config(), "'x' is a 't5' checkpoint, an encoder-decoder; a decoder alone is expected"),
        (CLIPConfig(), "'x' is a 'clip' checkpoint, for which transformers has no causal language model"),
        (LlavaConfig(), "'x' is a 'llava' checkpoint, .*; take a checkpoint of"),
    ],
)
def test_what_is_no_causal_language_model_is_refused(config, message):
    with pytest.raises(KitError, match=message):
        LanguageModel.check_config(config, "x")


def test_an_llm_takes_the_types_that_it_names():
    class Llamas(LanguageModel):
        model_types = ("llama",)

    Llamas.check_config(LlamaConfig(), "x")
    with pytest.raises(KitError, match="'x' is a 'bert' checkpoint"):
        Llamas.check_config(BertConfig(is_decoder=True), "x")


def test_logits_are_those_of_the_output_embeddings():
    head = nn.Linear(3, 7)
    hidden = torch.randn(2, 5, 3)
    model = SimpleNamespace(get_output_embeddings=lambda: head)
    assert torch.equal(LanguageModel.logits(model, hidden), head(hidden))
