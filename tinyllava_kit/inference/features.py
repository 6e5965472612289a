"""Features of frozen towers, encoded once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from ..core.conversation import Item
from ..core.modeling import TinyLlavaForConditionalGeneration
from ..core.processing import EncodedItem, Parts, TinyLlavaProcessor, window_inputs

BATCH = 32

# An item's key -> its source, which is kept alive because what is no file's name is known by its id, and its parts.
Kept = dict[tuple[str, object], tuple[object, Parts]]


class FeatureCache:
    """Runs each tower once over the items of a dataset and keeps the features in memory.

    An item is known by its modality and source; what reads the same file shares its features.

    Args:
        model: its towers are run as they are; they must not be trained.
        processor: reads the items.
        kept: features of another cache whose towers had the same weights; new ones are added to it.
    """

    def __init__(
        self, model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor, kept: Kept | None = None
    ) -> None:
        self.model = model
        self.processor = processor
        self.kept: Kept = {} if kept is None else kept

    def __call__(self, item: Item) -> Parts:
        """What the processor's `read_item` gives, with features in place of rows."""
        return self.kept[item_key(item)][1]

    @torch.no_grad()
    def fill(self, items: Iterable[Item]) -> int:
        """Encode the items that are not there yet; returns how many features are kept."""
        self.model.eval()
        for modality, batch in self._batches(items):
            read = [(item, self.processor.read_item(item)) for item in batch]
            parts = [part for _, every in read for part in every if isinstance(part, EncodedItem)]
            inputs = self.processor.preprocessors[modality].collate([row for part in parts for row in part.rows])
            inputs |= window_inputs([part.num_features for part in parts])
            device = self.model.device
            encoded = self.model.encode_features(modality, {k: v.to(device) for k, v in inputs.items()})
            rows = iter(encoded.features.cpu())
            for item, every in read:
                kept: Parts = []
                for part in every:
                    if isinstance(part, str):
                        kept.append(part)
                        continue
                    features = next(rows)[: sum(part.num_features)].clone()  # (P, E)
                    kept.append(EncodedItem(modality=modality, num_features=part.num_features, features=features))
                self.kept[item_key(item)] = (item.source, kept)
        kept_parts = (part for _, every in self.kept.values() for part in every)
        return sum(len(part.features) for part in kept_parts if isinstance(part, EncodedItem))

    def _batches(self, items: Iterable[Item]) -> Iterator[tuple[str, list[Item]]]:
        new: dict[str, dict[object, Item]] = {}
        for item in items:
            if item_key(item) not in self.kept:
                new.setdefault(item.modality, {})[item_key(item)] = item
        for modality, wanted in new.items():
            every = list(wanted.values())
            for start in range(0, len(every), BATCH):
                yield modality, every[start : start + BATCH]


def item_key(item: Item) -> tuple[str, object]:
    """What tells an item from others: its modality, and its file's name or which object its source is."""
    return (item.modality, item.source if isinstance(item.source, str) else id(item.source))
