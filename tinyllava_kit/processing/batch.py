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

    _plan: Plan | None = None  # of a batch that holds none, see `by_types`

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "labels" and isinstance(value, Tensor):
            value = self._without_items(value)
        if name == "mm_token_type_ids" and isinstance(self.data.get("labels"), Tensor):
            self.data["labels"] = self.data["labels"].masked_fill(value != 0, IGNORE_INDEX)
        super().__setitem__(name, value)

    def _without_items(self, labels: Tensor) -> Tensor:
        """The labels, without those of items; unchanged where the positions of items are not known yet."""
        plan: Plan | None = self.data.get("plan", self._plan)
        mask = self.data.get("attention_mask")
        if plan is None or not (mask is None or mask.equal(plan.attention_mask)):  # something has moved
            return labels
        return plan.without_items(labels)

    def by_types(self, modalities: Sequence[str], *, named: bool) -> Batch:
        """The same as transformers' processors make it: `mm_token_type_ids` say where items stand.

        So it may be put together with others and padded anew. Without items it has no plan.

        Args:
            named: the items' tensors under the names that their towers take (``pixel_values``), in place of `items`,
                `plan` and `position_ids`; unless items take different numbers of positions, or two modalities have
                the same names.
        """
        layout, items = self.data["plan"], self.data.get("items", {})
        self.data["mm_token_type_ids"] = layout.types(modalities)
        names = [name for inputs in items.values() for name in inputs]
        sizes = {(item.modality, item.num_tokens) for item in layout.items}
        if named and len(set(names)) == len(names) and len(sizes) == len(items) and not layout.ragged:
            self._plan = layout
            for name in ("items", "plan", "position_ids"):
                self.data.pop(name, None)
            self.data |= {name: value for inputs in items.values() for name, value in inputs.items()}
        elif not layout.item_positions:
            del self.data["plan"]
        return self

    def as_lists(self) -> Batch:
        """The ids, the mask and `mm_token_type_ids` as lists without padding, one for each prompt.

        As the processors of transformers give several prompts where no tensors are asked for.
        """
        kept = self.data["attention_mask"].bool()  # (B, T)
        for name in ("input_ids", "mm_token_type_ids", "attention_mask"):
            self.data[name] = [row[mask].tolist() for row, mask in zip(self.data[name], kept, strict=True)]
        self.data.pop("position_ids", None)
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
