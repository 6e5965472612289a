"""A model without its head, as programs ask transformers' models for it."""

from __future__ import annotations

from typing import Any


class Backbone:
    """The ``base_model`` of a model: its call gives ``last_hidden_state`` (B, T, D) and no logits.

    It has no weights of its own; whatever else it is asked, the model answers.
    """

    def __init__(self, model: Any) -> None:
        vars(self)["_whole"] = model

    def __call__(self, *args: Any, **inputs: Any) -> Any:
        return self._whole(*args, **inputs, logits_to_keep="none")

    def __getattr__(self, name: str) -> Any:
        if name == "_whole":  # of one that is being copied
            raise AttributeError(name)
        return getattr(self._whole, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._whole, name, value)
