"""Commands that generate put the model where it is fast."""

from __future__ import annotations

import pytest
import torch

import tinyllava_kit
from tinyllava_kit_cli.commands import ask, chat, eval, show
from tinyllava_kit_cli.generation import load_to_run


@pytest.mark.parametrize(("has_gpu", "device_map"), [(True, "cuda"), (False, None)])
def test_a_model_is_loaded_onto_the_gpu_where_there_is_one(monkeypatch, has_gpu, device_map):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(tinyllava_kit, "load_pretrained", lambda directory, **how: (directory, how))
    assert load_to_run("model", template="llama") == ("model", {"device_map": device_map, "template": "llama"})


def test_every_command_that_generates_loads_so():
    assert all(each.load_to_run is load_to_run for each in (ask, chat, eval, show))
