"""Which logits are kept, and when a step may leave them out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tinyllava_kit.core.plan import plan
from tinyllava_kit.core.spans import TextSpan
from tinyllava_kit.errors import FusionError
from tinyllava_kit.model.logits import Logits, check_keep

V, D = 7, 3


class Toy(Logits, nn.Module):
    """A head alone, whose interface doubles its logits."""

    def __init__(self) -> None:
        super().__init__()
        self.language_model = nn.Linear(D, V)
        self.llm_interface = SimpleNamespace(logits=lambda model, hidden: 2 * model(hidden))
        self.decoders, self.extension = nn.ModuleDict(), None


@pytest.fixture
def toy():
    return Toy()


def layout():
    return plan([[TextSpan([1, 2, 3], [1, 2, 3])], [TextSpan([4, 5], [-100, 5])]])[1]


@pytest.mark.parametrize(
    ("keep", "places"), [(0, [0, 1, 2]), (1, [2]), (2, [1, 2]), (9, [0, 1, 2]), (torch.tensor([2, 0]), [2, 0])]
)
def test_positions_that_are_kept_are_those_of_transformers(toy, keep, places):
    hidden = torch.randn(2, 3, D)
    kept = toy._kept_logits(hidden, keep, None)
    assert kept.keys() == {"logits"}
    assert torch.allclose(kept["logits"], 2 * toy.language_model(hidden)[:, places])


def test_targets_are_the_positions_in_front_of_a_label(toy):
    hidden = torch.randn(2, 3, D)
    kept = toy._kept_logits(hidden, "targets", layout())["logits"]
    expected = torch.stack([hidden[0, 0], hidden[0, 1], hidden[1, 0]])
    assert torch.allclose(kept, 2 * toy.language_model(expected))
    assert toy._kept_logits(hidden, "none", layout()) == {}


def test_logits_at_targets_are_not_computed_twice(toy):
    hidden, rows = torch.randn(2, 3, D), layout().target_positions
    whole = toy._kept_logits(hidden, 0, None)["logits"]
    targets = toy._kept_logits(hidden, "targets", layout())["logits"]
    assert toy._known_at_targets(targets, "targets", rows) is targets
    assert torch.allclose(toy._known_at_targets(whole, 0, rows), targets)
    last = toy._kept_logits(hidden, 1, None)["logits"]
    assert toy._known_at_targets(last, 1, rows) is None
    assert toy._known_at_targets(None, "none", rows) is None


def test_logits_that_a_step_needs_cannot_be_left_out():
    labels, unlabelled = torch.zeros(2, 3), plan([[TextSpan([1, 2])]])[1]
    for keep, given, of in (("targets", None, None), ("targets", labels, unlabelled), ("none", labels, None)):
        with pytest.raises(FusionError, match=f"logits_to_keep='{keep}' needs a plan that says where targets are"):
            check_keep(keep, given, of)
    check_keep("none", None, None)
    check_keep(0, labels, None)
    for keep in ("targets", "none"):
        check_keep(keep, labels, layout())
