"""What vLLM is told, with a stand-in for its registry."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from types import ModuleType, SimpleNamespace

import tinyllava_kit


def test_vllm_is_told_once_of_the_class_for_the_kits_architecture(monkeypatch):
    told: dict[str, str] = {}
    fake = ModuleType("vllm")
    fake.ModelRegistry = SimpleNamespace(get_supported_archs=lambda: told.keys(), register_model=told.__setitem__)
    monkeypatch.setitem(sys.modules, "vllm", fake)
    (point,) = entry_points(group="vllm.general_plugins", name="tinyllava_kit")
    register = point.load()
    register()
    (architecture,) = told
    assert architecture == tinyllava_kit.TinyLlavaForConditionalGeneration.__name__
    told[architecture] = "as somebody has set it"
    register()
    assert told == {architecture: "as somebody has set it"}
