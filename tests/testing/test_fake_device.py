"""An imitated device: what a network keeps on the CPU, or takes back to it, shows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tinyllava_kit.testing.fake_device import check_on_device


class Right(nn.Module):
    """Makes what it needs where its input is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)
        self.register_buffer("scale", torch.ones(3))
        self.register_buffer("nothing", None)

    def forward(self, given):
        return {"rows": self.layer(given) * self.scale + torch.arange(3, device=given.device)}


class Constant(Right):
    def __init__(self) -> None:
        super().__init__()
        self.offset = torch.zeros(3)

    def forward(self, given):
        return super().forward(given)["rows"] + self.offset


class MadeOnTheCpu(Right):
    def forward(self, given):
        return super().forward(given)["rows"] + torch.arange(3)


class TakenBack(Right):
    def forward(self, given):
        return super().forward(given)["rows"].cpu().sum().to(given.device)


class Elsewhere(Right):
    def forward(self, given):
        return torch.zeros(len(given))


GIVEN = {"given": torch.randn(2, 5)}


def test_a_network_that_stays_on_the_device_passes_and_is_left_as_it_was():
    right = Right()
    weight = right.layer.weight
    check_on_device(right, GIVEN)
    assert right.layer.weight is weight
    assert weight.device.type == GIVEN["given"].device.type == "cpu"
    assert torch.equal(right(**GIVEN)["rows"], right.layer(GIVEN["given"]) + torch.arange(3))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Constant, "on a device that is not the CPU: it takes a tensor that is neither parameter, buffer nor input"),
        (MadeOnTheCpu, "on a device that is not the CPU: .*device"),
        (TakenBack, "moves a tensor from the device to the CPU"),
        (Elsewhere, "inputs on cuda give outputs on cpu"),
    ],
)
def test_one_that_leaves_it_is_told(kind, message):
    with pytest.raises(AssertionError, match=message):
        check_on_device(kind(), GIVEN)
