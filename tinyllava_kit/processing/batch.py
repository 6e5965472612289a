"""A batch: what the model takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import BatchFeature

from ..core.plan import Plan
from ..core.spans import IGNORE_INDEX


class Batch(BatchFeature):
    """What the model takes: ``model(**batch)``, ``model.generate(**batch)``.

    Labels that a collator makes of ``input_ids`` and sets are of text: where an item stands, nothing is learned.
    """

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "labels" and isinstance(value, Tensor) and isinstance(self.data.get("plan"), Plan):
            value = self.data["plan"].without_items(value) if self._is_as_planned else value
        if name == "mm_token_type_ids" and isinstance(self.data.get("labels"), Tensor):
            self.data["labels"] = self.data["labels"].masked_fill(value != 0, IGNORE_INDEX)
        super().__setitem__(name, value)

    @property
    def _is_as_planned(self) -> bool:
        """Whether nothing was put behind the prompts since they were laid out, or moved."""
        mask = self.data.get("attention_mask")
        return mask is None or mask.equal(self.data["plan"].attention_mask)

    def by_types(self, modalities: Sequence[str]) -> Batch:
        """The same as transformers' processors make it: `mm_token_type_ids` say where items stand.

        So it may be put together with others and padded anew. Without items it has no plan.
        """
        layout = self.data["plan"]
        self.data["mm_token_type_ids"] = layout.types(modalities)
        if not layout.item_positions:
            del self.data["plan"]
        return self

    def to(self, *args: Any, **kwargs: Any) -> Batch:
        """Moves every tensor and the plan; a dtype is given to floating-point tensors only."""
        self.data = _move(self.data, *args, **kwargs)
        return self


def _move(value: Any, *args: Any, **kwargs: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _move(inner, *args, **kwargs) for key, inner in value.items()}
    if isinstance(value, Tensor) and not value.is_floating_point():
        device = kwargs.get("device", next((a for a in args if not isinstance(a, torch.dtype)), None))
        return value if device is None else value.to(device)
    if isinstance(value, Plan):
        device = kwargs.get("device", next((a for a in args if not isinstance(a, torch.dtype)), None))
        return value if device is None else value.to(device)
    return value.to(*args, **kwargs) if isinstance(value, Tensor) else value
