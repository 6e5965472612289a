"""Nothing goes wrong in silence: parts that would learn nothing, losses that are no number."""

from __future__ import annotations

import json

import pytest
import torch

from tinyllava_kit import KitError, TinyLlavaForConditionalGeneration
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = pytest.mark.slow


def train(place, name, **stage):
    stage = {"name": "s", "data": str(place / "rows.json"), "train": {"connector.image": "full"}, **stage}
    stage |= {"logging_steps": 1, "batch_size": 2}
    recipe = {"model": str(place / "model"), "output": str(place / name), "stages": [stage]}
    return run_recipe(Recipe.model_validate(recipe))


def test_a_part_whose_modality_no_row_has_is_refused(place):
    rows = [row for row in json.loads((place / "rows.json").read_text()) if "image" not in row]
    (place / "text.json").write_text(json.dumps(rows))
    with pytest.raises(KitError, match=r"train\.connector\.image: no sample of the data has image items"):
        train(place, "no-items", data=str(place / "text.json"))
    assert not (place / "no-items").exists()


@pytest.mark.parametrize("packing", [False, True])
def test_a_part_that_gets_no_gradient_is_refused(place, monkeypatch, packing):
    keep = TinyLlavaForConditionalGeneration.encode

    def detached(self, modality, inputs):
        return keep(self, modality, inputs).detach() + 0 * sum(p.sum() for p in self.connectors.parameters())

    monkeypatch.setattr(TinyLlavaForConditionalGeneration, "encode", detached)
    with pytest.raises(KitError, match=r"train\.connector\.image: its parameters get no gradient"):
        train(place, f"no-gradient-{packing}", packing=packing)


def described(place, name, texts):
    """Rows of a picture each, with what it shows in words."""
    path = str(next(place.rglob("*.png")))
    pictures = [{"type": "image", "path": path, "text": text} for text in texts]
    rows = [
        {"messages": [{"role": "user", "content": [picture, "What?"]}, {"role": "assistant", "content": "a"}]}
        for picture in pictures
    ]
    (place / name).write_text(json.dumps(rows))
    return str(place / name)


LONG = "far more words than any of the pictures has rows " * 9


def test_one_sample_with_more_words_than_rows_stops_nothing(place, capfd):
    train(place, "one-long", data=described(place, "one-long.json", [LONG, "a", "a", "a"]), match_words={})
    assert "samples have more words than rows" in capfd.readouterr().out


def test_where_no_sample_has_rows_for_its_words_that_is_said(place):
    data = described(place, "all-long.json", [LONG] * 5)
    with pytest.raises(
        KitError, match=r"would learn nothing: the samples have more words than rows; take shorter texts"
    ):
        train(place, "all-long", data=data, match_words={})


def test_the_check_leaves_random_numbers_and_gradients_as_they_were(place, monkeypatch):
    from tinyllava_kit.training.loop import fitting

    seen = {}

    def check(trainer, *args):
        before = torch.random.get_rng_state()
        keep(trainer, *args)
        seen["same"] = torch.equal(before, torch.random.get_rng_state())
        seen["gradients"] = [p.grad for p in trainer.model.parameters() if p.grad is not None]

    keep = fitting.check_gradients
    monkeypatch.setattr(fitting, "check_gradients", check)
    train(place, "untouched", max_steps=1)
    assert seen == {"same": True, "gradients": []}


def _spoil(monkeypatch, step, value):
    """From its `step`-th call on, training has a loss of `value` times what it is."""
    keep = TinyLlavaForConditionalGeneration.forward
    calls = iter(range(1, 99))

    def forward(self, *args, **kwargs):
        output = keep(self, *args, **kwargs)
        if next(calls) > step:
            output.loss = output.loss * value
        return output

    monkeypatch.setattr(TinyLlavaForConditionalGeneration, "forward", forward)


def test_a_loss_that_is_no_number_names_its_rows_and_stops(place, monkeypatch):
    _spoil(monkeypatch, 2, float("nan"))  # the check before the first step is a call, too
    with pytest.raises(KitError, match=r"step 2: the loss is nan, from .*rows\.json\[\d\].*, .*rows\.json\[\d\]"):
        train(place, "nan")


def test_a_gradient_that_is_no_number_stops_before_the_weights_change(place, monkeypatch):
    class Overflow(torch.autograd.Function):
        @staticmethod
        def forward(ctx, loss):
            return loss.clone()

        @staticmethod
        def backward(ctx, grad):
            return grad * float("inf")

    keep = TinyLlavaForConditionalGeneration.forward

    def forward(self, *args, **kwargs):
        output = keep(self, *args, **kwargs)
        output.loss = Overflow.apply(output.loss)
        return output

    monkeypatch.setattr(TinyLlavaForConditionalGeneration, "forward", forward)
    with pytest.raises(KitError, match=r"step 1: the gradient is nan, from .*rows\.json"):
        train(place, "inf")
