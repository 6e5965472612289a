"""Operators that read a value back from the device are seen on the CPU; others are not."""

from __future__ import annotations

import pytest
import torch

from tinyllava_kit.testing.no_sync import NoSync

X = torch.randn(3, 5)


@pytest.mark.parametrize(
    "read",
    [
        lambda: X.sum().item(),
        lambda: bool(X.sum() > 0),
        lambda: int(X.argmax()),
        lambda: X.nonzero(),
        lambda: X.masked_select(X > 0),
        lambda: X[X > 0],
        lambda: torch.equal(X, X),
        lambda: X.clone().index_put_((X > 0,), torch.ones(int(NUM_POSITIVE))),
    ],
)
def test_what_reads_a_value_back_fails(read):
    with NoSync(), pytest.raises(AssertionError, match=r"^reads back from the device: aten::"):
        read()


NUM_POSITIVE = (X > 0).sum().item()


@pytest.mark.parametrize(
    "compute",
    [
        lambda: X @ X.T,
        lambda: torch.where(X > 0, X, 0),
        lambda: X[torch.tensor([0, 2])],
        lambda: X.masked_fill(X > 0, 0),
        lambda: X.clone().index_put_((X > 0,), torch.ones(())),
        lambda: X[:, 1:].softmax(-1).argmax(-1),
    ],
)
def test_what_stays_on_the_device_passes(compute):
    expected = compute()
    with NoSync():
        found = compute()
    assert torch.equal(found, expected)


def test_reading_is_allowed_while_it_is_paused():
    with NoSync() as mode:
        mode.pause(True)
        assert X.sum().item() == pytest.approx(float(X.sum()))
        mode.pause(False)
        with pytest.raises(AssertionError, match="_local_scalar_dense"):
            X.sum().item()
