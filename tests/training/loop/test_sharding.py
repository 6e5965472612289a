"""Trained weights brought together; of one process here, of two in test_distributed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tinyllava_kit.training.loop import sharding
from tinyllava_kit.training.loop.sharding import is_sharded, trained_state


@pytest.fixture
def model() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    model[0].requires_grad_(False)
    return model


def test_what_is_trained_and_every_buffer_are_the_state(model):
    found = trained_state(model)
    assert set(found) == set(model.state_dict()) - {"0.weight", "0.bias"}
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in found.items())
    assert not any(value.requires_grad for value in found.values())


def test_other_ranks_hold_nothing(model, monkeypatch):
    monkeypatch.setattr(sharding, "rank", lambda: 1)
    assert trained_state(model) == {}


def test_a_model_is_sharded_where_one_parameter_is(model):
    assert not is_sharded(model)
    model[2].bias.ds_id = 3  # as DeepSpeed marks them
    assert is_sharded(model)
    assert not is_sharded(nn.Identity())
