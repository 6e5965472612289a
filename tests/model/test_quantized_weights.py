"""Quantized layers that were loaded without their scales, or have run, are found by their names alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tinyllava_kit.model.quantized_weights import has_repacked_weights, missing_scales


class Linear8bitLt(nn.Linear):
    """As bitsandbytes calls its own."""


class Linear4bit(nn.Linear):
    """As bitsandbytes calls its own."""


def state(*, nested=False, dtype=torch.float32, **others):
    return SimpleNamespace(nested=nested, absmax=torch.zeros(2, dtype=dtype), **others)


@pytest.fixture
def model():
    made = nn.Sequential(nn.Linear(2, 2), Linear8bitLt(2, 2), nn.Sequential(Linear4bit(2, 2)))
    made[1].weight.SCB = torch.ones(2)
    made[2][0].weight.quant_state = state()
    return made


def test_a_model_with_all_its_scales_lacks_nothing(model):
    assert missing_scales(model) == []
    model[2][0].weight.quant_state = state(nested=True, dtype=torch.uint8)
    assert missing_scales(model) == []
    assert missing_scales(nn.Linear(2, 2)) == []


def test_scales_that_did_not_come_are_named(model):
    model[1].weight.SCB = None
    model[2][0].weight.quant_state = state(dtype=torch.uint8)
    assert missing_scales(model) == ["1.SCB", "2.0.weight.nested_absmax"]
    del model[1].weight.SCB
    model[2][0].weight.quant_state = None
    assert missing_scales(model) == ["1.SCB", "2.0.weight.absmax"]


def test_weights_that_were_laid_out_anew_are_found(model):
    assert not has_repacked_weights(model)
    model[2][0].weight.quant_state = state(original_qshape=(2, 2))
    assert has_repacked_weights(model)
