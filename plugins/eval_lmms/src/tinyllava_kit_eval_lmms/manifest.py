"""The manifest in lmms-eval's entry-point group. Light: lmms-eval loads it to list its models."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """The model `tinyllava_kit` of lmms-eval's registry, of its kind that gets messages."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="tinyllava_kit", chat_class_path=f"{__package__}.model.TinyLlavaKit")
