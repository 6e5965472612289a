"""The items of vLLM's requests as the kit's processor reads them.

Of an item vLLM carries these fields to the model: under ``MODALITY_NAME`` the tensors of the preprocessor's rows, under
``MODALITY_features`` how many features each row of each part gives, under ``MODALITY_ids`` the ids at its placeholder.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tinyllava_kit import KitError, TinyLlavaProcessor
from tinyllava_kit.interfaces import Item, ItemSpan

ROW = -1  # in place of an id, where a row of an item stands
FEATURES, IDS = "features", "ids"
MODALITIES = ("image", "audio", "video")  # that vLLM knows

_LONGEST = 600  # seconds that vLLM decodes of a sound
_RATE_HZ = 16_000
_SIDE = 1024  # pixels of the picture whose tokens are counted, which may be cut into tiles
_SHAPES = ((1, 1), (1, 2), (2, 1), (1, 3), (3, 1))


class RequestItems:
    """What vLLM gives of items, read and counted by the processor of a model.

    Raises:
        KitError: the model reads a modality that vLLM has no name for.
    """

    def __init__(self, processor: TinyLlavaProcessor) -> None:
        self.processor = processor
        if others := sorted(set(processor.reads) - set(MODALITIES)):
            raise KitError(
                f"vLLM carries pictures, sounds and videos alone, and the model reads {', '.join(others)}; "
                "'tinyllava serve' answers about these"
            )

    def fields(self, modality: str, given: Any) -> dict[str, Any]:
        """What the model gets of an item.

        Raises:
            KitError: it cannot be read.
        """
        parts = self.processor.read_item(Item(modality, given))
        items = [part for part in parts if not isinstance(part, str)]
        rows = [row for item in items for row in item.rows]
        fields: dict[str, Any] = {f"{modality}_{name}": [row[name] for row in rows] for name in rows[0]}
        fields[f"{modality}_{FEATURES}"] = [torch.tensor(item.num_features) for item in items]
        fields[f"{modality}_{IDS}"] = torch.tensor(self._ids(parts))
        return fields

    def _ids(self, parts: Sequence[Any]) -> list[int]:
        """The ids at a placeholder, `ROW` where a row stands."""
        spans = [span for part in parts for span in self.processor.spans_of(part)]
        return [n for span in spans for n in ([ROW] * span.num_tokens if isinstance(span, ItemSpan) else span.ids)]

    def tower_inputs(self, modality: str, fields: Mapping[str, Any]) -> dict[str, Tensor]:
        """The fields of several items as their tower takes them."""
        prefix = f"{modality}_"
        names = [key for key in fields if key.startswith(prefix) and key not in (prefix + FEATURES, prefix + IDS)]
        tensors = {key.removeprefix(prefix): [row for rows in fields[key] for row in rows] for key in names}
        rows = [dict(zip(tensors, row, strict=True)) for row in zip(*tensors.values(), strict=True)]
        return self.processor.tower_inputs(
            modality, rows, [part for parts in parts_of(modality, fields) for part in parts]
        )

    def rows_of(self, modality: str, encoded: Tensor, fields: Mapping[str, Any]) -> list[Tensor]:
        """The rows (n, D) of each item, from those of its parts, (N, P', D), which are padded."""
        connector, waiting = self.processor.connectors[modality], iter(encoded)
        return [
            torch.cat([next(waiting)[: connector.num_tokens(sum(part))] for part in parts])
            for parts in parts_of(modality, fields)
        ]

    def largest(self, modality: str, limit: int) -> Any:
        """An item with as many tokens as any of its modality has, but no more than `limit` where it may be shorter."""
        if modality == "audio":
            seconds = bisect_right(range(1, _LONGEST), limit, key=lambda n: self.num_tokens(modality, _silence(n)))
            return _silence(max(1, seconds))
        pictures = [Image.new("RGB", (_SIDE * width, _SIDE * height)) for width, height in _SHAPES]
        return max(pictures, key=lambda picture: self.num_tokens(modality, picture))

    def num_tokens(self, modality: str, given: Any) -> int:
        """How many rows an item becomes, without running anything."""
        return self._ids(self.processor.probe_item(Item(modality, given))).count(ROW)


def parts_of(modality: str, fields: Mapping[str, Any]) -> Iterator[list[list[int]]]:
    """Of each item, its parts: how many features each row of one gives."""
    for parts in fields[f"{modality}_{FEATURES}"]:
        yield [part.tolist() for part in parts]


def _silence(seconds: int) -> tuple[np.ndarray, int]:
    return np.zeros(seconds * _RATE_HZ, np.float32), _RATE_HZ
