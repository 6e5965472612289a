"""A stand-in for what the plugin uses of lmms-eval, where that is not installed."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@dataclass(frozen=True)
class Instance:
    """A request, as far as a model of messages looks at it."""

    arguments: tuple[Any, ...]

    @property
    def args(self) -> tuple[Any, ...]:
        return self.arguments


@dataclass(frozen=True, kw_only=True)
class ModelManifest:
    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None


class lmms:
    is_simple = True

    def __init__(self) -> None:
        self.cache_hook = SimpleNamespace(add_partial=lambda kind, request, answer: None)
        self.task_dict: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def lmms_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules that the plugin imports, for each test anew."""
    if importlib.util.find_spec("lmms_eval") is not None:
        return
    found = {"api.model": {"lmms": lmms}, "api.instance": {"Instance": Instance}}
    found |= {"models.registry_v2": {"ModelManifest": ModelManifest}, "api": {}, "models": {}, "": {}}
    for name, attributes in found.items():
        module = ModuleType(f"lmms_eval.{name}".rstrip("."))
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.delitem(sys.modules, "tinyllava_kit_eval_lmms.model", raising=False)
