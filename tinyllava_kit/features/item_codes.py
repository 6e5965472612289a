"""The ids that are learned for items, made once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..core.conversation import Conversation, Item, naming
from ..core.spans import GeneratedSpan, TextSpan
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..processing.encoded import EncodedItem, Parts
from ..processing.processor import TinyLlavaProcessor
from ..terminal.counting import Advance, counting
from .digests import decoder_digest, source_digest
from .store import FeatureStore


class ItemCodes:
    """Turns items that an assistant gives into ids, with the model's decoders; a processor's `writer`.

    What `fill` was given is encoded once: the ids are kept in memory and, where there is a folder, on disk under what
    they depend on: the content of the item, the decoder's component and weights, how the modality is read. Other items
    are encoded whenever they are asked for.

    Args:
        model: its decoders encode.
        processor: reads the items.
        folder: where ids are kept from one run to the next; None: nowhere.
    """

    def __init__(
        self,
        model: TinyLlavaForConditionalGeneration,
        processor: TinyLlavaProcessor,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        self.model, self.processor = model, processor
        self.store = None if folder is None else FeatureStore(folder)
        self._spaces = {} if folder is None else {m: decoder_digest(m, model, processor) for m in processor.gives}
        # with its source, which is kept alive because a source that is not a file's name is known by its id
        self._kept: dict[tuple[str, object], tuple[object, TextSpan | GeneratedSpan]] = {}

    def __call__(self, item: Item) -> TextSpan | GeneratedSpan:
        """The ids of an item, with its marks and parallel ids.

        Raises:
            KitError: it cannot be read or written; names its row, too, where it has one.
        """
        key = item.key
        return self._kept[key][1] if key in self._kept else self._encode(item)

    def fill(self, conversations: Iterable[Conversation]) -> int:
        """Encode what the assistant gives in these and was not encoded before; returns how many items that were."""
        wanted: dict[tuple[str, object], Item] = {}
        for conversation in conversations:
            answered = conversation.answered(self.processor.gives)
            wanted.update({i.key: i for i, given in zip(conversation.items, answered, strict=True) if given})
        encoded = 0
        with counting("encoding answers", len(wanted), "items") as advance:
            for modality in sorted({modality for modality, _ in wanted}):
                encoded += self._fill(modality, [item for (m, _), item in wanted.items() if m == modality], advance)
        return encoded

    def _fill(self, modality: str, items: Iterable[Item], advance: Advance) -> int:
        new: dict[str, Parts] = {}
        encoded = 0
        space = self._spaces.get(modality, "")
        if self.store is not None:
            self.store.find(space)
        for item in items:
            advance(1)
            if item.key in self._kept:
                continue
            digest = None if self.store is None else source_digest(item.source)
            if self.store is not None and digest is not None and self.store.has(space, digest):
                part: Any = self.store.get(space, digest)[0]
                span = _as_span(modality, part.features, made=modality in self.processor.makes)
            else:
                span = self._encode(item)
                encoded += 1
                if digest is not None:
                    ids = _as_tensor(span)
                    new[digest] = [EncodedItem(modality=modality, num_features=[len(ids)], features=ids)]
            self._kept[item.key] = (item.source, span)
        if self.store is not None and new:
            self.store.write(space, new)
        return encoded

    def _encode(self, item: Item) -> TextSpan | GeneratedSpan:
        read = self.processor.read_source(item)
        with naming(item):
            return self.model.ids_of(item.modality, read, item.source if isinstance(item.source, str) else "")


def _as_tensor(span: TextSpan | GeneratedSpan) -> Tensor:
    """(n,) its ids, or (n, k) with those beside them."""
    ids = torch.tensor(span.ids)  # (n,) or (n, k)
    if isinstance(span, GeneratedSpan) or span.parallel is None:
        return ids
    return torch.cat([ids[:, None], torch.tensor(span.parallel)], 1)  # (n, 1 + K)


def _as_span(modality: str, ids: Tensor, *, made: bool) -> TextSpan | GeneratedSpan:
    """The inverse."""
    if made:
        return GeneratedSpan(modality, ids.tolist())
    main, parallel = (ids, None) if ids.ndim == 1 else (ids[:, 0], ids[:, 1:].tolist())
    return TextSpan(main.tolist(), main.tolist(), parallel)
