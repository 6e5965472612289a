"""Features of frozen towers, encoded once and kept on disk."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.conversation import Item
from ..distributed import rank, wait_for_all, world_size
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..processing.encoded import EncodedItem, Parts
from ..processing.processor import TinyLlavaProcessor
from ..terminal.counting import Advance, counting
from .digests import parts_digest, source_digest, tower_digest
from .store import GB, FeatureStore, features_of

BATCH = 32
# When a shard is written: a killed process loses the features of an unwritten one.
CACHE_BYTES = 128_000_000
SHARD_SECONDS = 60.0

Place = tuple[str, str]  # space and key of a `FeatureStore`


class FeatureCache:
    """Runs each tower once over the items of a dataset and keeps the features in a folder.

    Features are found again by what they depend on: the content of the item, the tower's component and weights, how
    the modality is read and preprocessed, and the dtypes. So two runs, and two files that are equal, share them; what
    differs in any of these does not. Reading them needs neither tower nor model.

    Args:
        model: its towers must not be trained as long as the cache is used.
        processor: reads the items.
        folder: where the features are kept; None: in a temporary one, which goes with the cache.
        max_gb: the most that the folder may hold, in 1e9 bytes; what was not used for longest goes. None: no bound.
    """

    def __init__(
        self,
        model: TinyLlavaForConditionalGeneration,
        processor: TinyLlavaProcessor,
        folder: str | os.PathLike[str] | None = None,
        max_gb: float | None = None,
    ) -> None:
        self.model, self.processor = model, processor
        self.alone = folder is None
        if folder is None:
            folder = tempfile.mkdtemp(prefix="features-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.store = FeatureStore(folder, None if max_gb is None else max_gb * GB)
        self._spaces: dict[str, str] = {}
        # An item's key -> its source, which is kept alive because a source that is not a file's name is known by its
        # id, and where its features stand.
        self._places: dict[tuple[str, object], tuple[Any, Place]] = {}

    def __call__(self, item: Item) -> Parts:
        """What the processor's `read_item` gives, with features in place of rows."""
        return self.store.get(*self.place(item))

    def fill(self, items: Iterable[Item]) -> int:
        """Encode the items that are not there yet; returns how many that were, equal ones counted once.

        Where ranks share a folder, each encodes its part and waits for the others.

        Raises:
            KitError: an item that cannot be read; a folder that cannot be written, or has no room.
        """
        wanted: dict[Place, Item] = {}
        for item in items:
            wanted.setdefault(self.place(item), item)
        missing = [place for place in wanted if not self.store.has(*place)]
        if not self.alone and world_size() > 1:
            own = [place for place in missing if int(place[1][:8], 16) % world_size() == rank()]
            self._encode_missing({place: wanted[place] for place in own})
            wait_for_all()
            for space in self._spaces.values():
                self.store.find(space)
        self._encode_missing({place: wanted[place] for place in wanted if not self.store.has(*place)})
        return len(missing)

    def has(self, item: Item) -> bool:
        """Whether the features of an item are there."""
        return self.store.has(*self.place(item))

    def place(self, item: Item) -> Place:
        """Where the features of an item stand, or would."""
        if item.modality not in self._spaces:
            self._spaces[item.modality] = tower_digest(item.modality, self.model, self.processor)
            self.store.find(self._spaces[item.modality])
        known = self._places.get(item.key)
        if known is None:
            content = source_digest(item.source) or parts_digest(self.processor.read_item(item))
            known = self._places[item.key] = item.source, (self._spaces[item.modality], content)
        return known[1]

    @torch.no_grad()
    def encode(self, items: Sequence[Item]) -> list[Parts]:
        """Items of one modality, read and through the tower: what `read_item` gives, with features in place of rows."""
        self.model.eval()
        modality = items[0].modality
        read = [self.processor.read_item(item) for item in items]
        parts = [part for every in read for part in every if isinstance(part, EncodedItem)]
        rows = [row for part in parts for row in part.rows]
        inputs = self.processor.tower_inputs(modality, rows, [part.num_features for part in parts])
        device = next((p.device for p in self.model.towers[modality].parameters()), self.model.device)
        encoded = self.model.encode_features(modality, {k: v.to(device) for k, v in inputs.items()})
        rows = iter(encoded.features.cpu())  # N times (P, E)
        return [[part if isinstance(part, str) else _with_features(part, next(rows)) for part in each] for each in read]

    def _encode_missing(self, missing: dict[Place, Item]) -> None:
        with counting("encoding with frozen towers", len(missing), "items") as advance:
            self._encode_shards(missing, advance)

    def _encode_shards(self, missing: dict[Place, Item], advance: Advance) -> None:
        for space in self._spaces.values():
            waiting = deque(place for place in missing if place[0] == space)
            shard: dict[str, Parts] = {}
            start = time.monotonic()
            while waiting:
                batch: list[Place] = []
                while waiting and len(batch) < BATCH:
                    place = waiting.popleft()
                    advance(1)
                    if not self.store.has(*place):  # another process may have encoded it in the meantime
                        batch.append(place)
                if batch:
                    encoded = self.encode([missing[place] for place in batch])
                    shard.update(zip([key for _, key in batch], encoded, strict=True))
                full = _size(shard) > CACHE_BYTES or time.monotonic() - start > SHARD_SECONDS
                if shard and (full or not waiting):
                    self.store.write(space, shard)
                    self.store.find(space)
                    shard, start = {}, time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        """Without the model: for processes that read features."""
        return {**self.__dict__, "model": None}


def _with_features(part: EncodedItem, features: Tensor) -> EncodedItem:
    """`features` (P', E) are real up to the part's own number."""
    own = features[: sum(part.num_features)].clone()  # (P, E)
    return EncodedItem(modality=part.modality, num_features=part.num_features, features=own)


def _size(shard: dict[str, Parts]) -> int:
    return sum(features.nbytes for parts in shard.values() for features in features_of(parts))
