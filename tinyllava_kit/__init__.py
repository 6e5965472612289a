"""tinyllava_kit: small multimodal language models from plugins.

The public classes are imported when they are first touched; importing the package alone loads no torch. Where a program
imports transformers, its Auto classes know this package's.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .core.errors import KitError as KitError
from .core.hookspecs import hookimpl as hookimpl
from .core.when_imported import is_importing, when_imported

__version__ = "0.1.0"

_LAZY = {
    "TinyLlavaConfig": "tinyllava_kit.core.configuration",
    "TinyLlavaPreTrainedModel": "tinyllava_kit.core.modeling",
    "TinyLlavaForConditionalGeneration": "tinyllava_kit.core.modeling",
    "TinyLlavaProcessor": "tinyllava_kit.core.processing",
    "assemble": "tinyllava_kit.core.building",
    "load_pretrained": "tinyllava_kit.checkpoints.loading",
    "open_foreign": "tinyllava_kit.checkpoints.layouts",
    "discover": "tinyllava_kit.core.discovery",
}

__all__ = ["KitError", "hookimpl", *_LAZY]


def _register() -> None:
    """Make the Auto classes of transformers know ours."""
    if not is_importing(__name__):  # a module of ours that needs transformers comes first; a class's touch registers
        import_module("tinyllava_kit.core.auto")


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name != "discover":
        _register()
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


when_imported("transformers", _register)
