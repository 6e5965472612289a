"""Objectives that are wrong in one way each, and the check of the contract that says so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Subset

from tests.testing.right import caught, changed, offered, passes, table
from tinyllava_kit import KitError
from tinyllava_kit.plugin.specs import ObjectiveSpec, Option
from tinyllava_kit.testing import ObjectiveContract
from tinyllava_kit.training import Lesson, Objective

pytestmark = pytest.mark.slow  # each trains a toy


class Share(Objective):
    """A share of the model's own loss."""

    def __init__(self, *, share: float = 0.5) -> None:
        self.share = share

    def own(self, model: Any, batch: Any, count: Any) -> Tensor:
        return model(**batch, num_items_in_batch=count).loss

    def loss(self, model: Any, batch: Any, count: Any) -> Tensor:
        return self.share * self.own(model, batch, count)

    def prepare(self, dataset: Any, model: Any, collate: Any, trained: Any) -> Lesson:
        return Lesson(dataset, collate, self.loss)


def spec(*, above: float | None = 0) -> ObjectiveSpec:
    share = Option(name="share", type=float, default=0.5, above=above)
    return ObjectiveSpec(name="share", target=f"{__name__}:Share", options=(share,))


class ShareContract(ObjectiveContract):
    component = Share
    spec = spec()
    catalog = offered(spec)


def contract_of(objective: Any, **known: Any) -> ShareContract:
    contract = ShareContract()
    vars(contract).update(component=objective, **known)
    return contract


def losing(loss: Any) -> type[Share]:
    return changed(Share, loss=loss)


def preparing(prepare: Any) -> type[Share]:
    """What `prepare` does to the dataset, the model and the collator, or makes of them."""
    return changed(
        Share,
        prepare=lambda self, dataset, model, collate, trained: (
            prepare(self, dataset, model, collate) or Lesson(dataset, collate, self.loss)
        ),
    )


def targets(batch: Any) -> Tensor:
    return (batch["labels"] != -100).sum()


def over_all_positions(self: Share, model: Any, batch: Any, count: Any) -> Tensor:
    """Padding, and what is asked, is among what the sum is divided by."""
    return self.share * self.own(model, batch, count) * targets(batch) / batch["labels"].numel()


def with_padded_strips(self: Share, model: Any, batch: Any, count: Any) -> Tensor:
    return self.share * model(items=batch["items"]).item_features["image"][0].square().mean()


def of_the_batch_alone(self: Share, model: Any, batch: Any, count: Any) -> Tensor:
    return self.share * self.own(model, batch, None)


def summed(self: Share, model: Any, batch: Any, count: Any) -> Tensor:
    return self.share * self.own(model, batch, None) * len(batch["labels"])


def of_each(self: Share, model: Any, batch: Any, count: Any) -> Tensor:
    return self.share * self.own(model, batch, count)[None].expand(2)


def noisy(self: Share, model: Any, batch: Any, count: Any) -> Tensor:
    return self.share * self.own(model, batch, count) + torch.rand(())


def of_numbers(self: Share, model: Any, batch: Any, count: Any) -> Any:
    return float(self.own(model, batch, count).detach())


def thawing(self: Share, model: Any, batch: Any, count: Any) -> Tensor:
    model.requires_grad_(True)
    return self.share * self.own(model, batch, count)


def of_the_connector(self: Share, model: Any, batch: Any, count: Any) -> Tensor:
    """Nothing reaches the tower."""
    model.towers.requires_grad_(False)
    try:
        return self.share * self.own(model, batch, count)
    finally:
        model.towers.requires_grad_(True)


def weightless(self: Share, model: Any, batch: Any, count: Any) -> Tensor:
    return self.share + 0 * self.own(model, batch, count)


def backwards(self: Share, model: Any, batch: Any, count: Any) -> Tensor:
    """The gradient is that of the negative loss."""
    loss = self.share * self.own(model, batch, count)
    return 2 * loss.detach() - loss


def of_pictures(self: Share, model: Any, batch: Any, count: Any) -> Tensor:
    return self.share * self.own(model, batch, count) + 0 * batch["items"]["image"]["strips"].sum()


def unnamed(self: Share, dataset: Any, model: Any, collate: Any) -> None:
    if any(not conversation.items for conversation in dataset.conversations):
        raise KitError("share: a row has no picture")


def of_two_lines(self: Share, dataset: Any, model: Any, collate: Any) -> None:
    for conversation in dataset.conversations:
        if not conversation.items:
            raise KitError(f"{conversation.name}:\nhas no picture")


def set_to_zero(self: Share, dataset: Any, model: Any, collate: Any) -> None:
    for parameter in model.connectors.parameters():
        parameter.data.zero_()


def thawed(self: Share, dataset: Any, model: Any, collate: Any) -> None:
    model.language_model.requires_grad_(True)


def frozen(self: Share, dataset: Any, model: Any, collate: Any) -> None:
    model.towers.requires_grad_(False)


def in_training(self: Share, dataset: Any, model: Any, collate: Any) -> None:
    model.train()


def first_two(self: Share, dataset: Any, model: Any, collate: Any) -> Lesson:
    return Lesson(Subset(dataset, [0, 1]), collate, self.loss)


def without_num_cut(self: Share, dataset: Any, model: Any, collate: Any) -> Lesson:
    return Lesson(dataset, lambda samples: collate(samples), self.loss)


def shuffling(self: Share, dataset: Any, model: Any, collate: Any) -> Lesson:
    class Shuffled(type(collate)):  # type: ignore[misc]
        def __call__(self, samples: Any) -> Any:
            return collate([samples[number] for number in torch.randperm(len(samples))])

    return Lesson(dataset, Shuffled(dataset.processor, None), self.loss)


def of_a_tuple(self: Share, dataset: Any, model: Any, collate: Any) -> Any:
    return (dataset, collate, self.loss)


MUTANTS: list[tuple[str, type[Share], str, str]] = [
    ("padding is among what it divides by", losing(over_all_positions), "accumulated", "samples one by one"),
    ("padding of items is in a mean", losing(with_padded_strips), "padding", "its samples alone from"),
    ("a sum over samples", losing(summed), "padding", "its samples alone from"),
    ("a mean over the batch alone", losing(of_the_batch_alone), "accumulated", "samples one by one have the loss"),
    ("a loss for each sample", losing(of_each), "loss", r"has the shape \(2,\), expected \(\)"),
    ("a loss with noise", losing(noisy), "loss", "the second time"),
    ("a loss that is a float", losing(of_numbers), "loss", "is a float, expected a tensor"),
    ("the loss thaws the LLM", losing(thawing), "gradient", "trained, the loss thaws llm"),
    ("the gradient is cut before the tower", losing(of_the_connector), "gradient", "no gradient reaches towers.image"),
    ("a gradient of zero", losing(weightless), "gradient", "no gradient reaches"),
    ("a gradient of the wrong sign", losing(backwards), "learns", "after 12 steps on one batch"),
    ("a row without an item raises what Python raises", losing(of_pictures), "refused", "raised KeyError"),
    ("a row is refused without its name", preparing(unnamed), "refused", "does not name the row"),
    ("a row is refused in two lines", preparing(of_two_lines), "refused", "more than one line"),
    ("preparing changes weights", preparing(set_to_zero), "prepared", "prepare changes connectors.image"),
    ("preparing thaws the LLM", preparing(thawed), "prepared", "prepare thaws llm"),
    ("preparing freezes the tower", preparing(frozen), "prepared", "prepare freezes tower.image"),
    ("preparing puts the model into training", preparing(in_training), "prepared", "into training"),
    ("samples are lost", preparing(first_two), "samples", "2 samples of 4 conversations"),
    ("a collator without num_cut", preparing(without_num_cut), "samples", "has num_cut None"),
    ("a collator that shuffles", preparing(shuffling), "samples", "is another the second time"),
    ("what is prepared is no lesson", preparing(of_a_tuple), "loss", "prepare gives a tuple, expected a Lesson"),
    ("a share that is ignored", losing(lambda s, m, b, c: s.own(m, b, c)), "options", "'share' changes nothing"),
    ("a share that is divided by", losing(lambda s, m, b, c: s.own(m, b, c) / s.share), "settings", "share=0"),
]


def test_the_right_objective_passes_every_check() -> None:
    assert passes(ShareContract()) == {}


@table(MUTANTS)
def test_a_mutant_of_the_objective_is_caught(mutant: Any, check: str, message: str) -> None:
    wanted = {"spec": spec(above=None)} if check == "settings" else {}
    caught(contract_of(mutant, **wanted), check, message)


def test_trained_parts_that_no_model_has_are_told() -> None:
    of_decoders = ObjectiveSpec(name="share", target=f"{__name__}:Share", trains=("decoder",))
    caught(contract_of(Share, spec=of_decoders), "loss", r"trains=\('decoder',\) names no part of the toy")
