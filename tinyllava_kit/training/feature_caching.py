"""Whether a stage keeps the features of its frozen towers, and what that costs and saves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ..core.conversation import Item
from ..data.dataset import ConversationDataset
from ..data.stream import RowStream
from ..distributed import say, world_size
from ..errors import KitError
from ..features.cache import FeatureCache
from ..features.store import GB, features_of
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..processing.encoded import Parts
from .batches.epochs import Epochs
from .output.decisions import decided
from .recipe import Stage
from .stage_settings import FeatureCaching

TRIED = 16  # items that `auto` measures


def cache_features(
    model: TinyLlavaForConditionalGeneration,
    dataset: ConversationDataset | RowStream,
    stage: Stage,
    batches: Epochs | None,
    folder: Path,
    checkpoints: Path,
    device: torch.device,
) -> None:
    """Give the dataset a reader of cached features, filled, where the stage asks for one; with ``auto``, where it wins.

    What ``auto`` found is kept with the checkpoints: features from the cache and from the tower differ in their last
    bits, and a run that resumes must have the same.

    Args:
        batches: of the stage, where they are not drawn one sample after another.
        folder: where the features go, unless the stage says another. `checkpoints`: of the stage.
        device: where the towers run for it.

    Raises:
        KitError: a tower is trained, so that its features change; see also `FeatureCache.fill`.
    """
    how = stage.cache_features
    trained = [name for name in stage.trained if name.startswith("tower.")]
    if isinstance(dataset, RowStream) or not how.mode or (trained and how.mode == "auto"):
        return
    if trained:
        raise KitError(f"cache_features: {trained[0]} is trained, so its features change; take one of them out")
    cache = FeatureCache(model, dataset.processor, how.dir or folder, how.max_gb)
    items = [item for conversation in dataset.conversations for item in dataset.processor.input_items(conversation)]
    home = model.device
    model.towers.to(device)
    kept = how.mode is True
    if how.mode == "auto" and items:
        kept = decided(
            checkpoints, "cached", lambda: _wins(cache, items, stage, how, _passes(stage, len(dataset), batches))
        )
    if kept:
        start = time.monotonic()
        encoded = cache.fill(items)
        say(f"encoded {encoded} items with the frozen towers in {time.monotonic() - start:.0f} s; the rest was there")
        dataset.reader = cache
    model.towers.to(home)


def _wins(cache: FeatureCache, items: Sequence[Item], stage: Stage, how: FeatureCaching, passes: float) -> bool:
    """Whether the stage takes less time with the cache, filling it included, judged by a few items."""
    different = list({item.key: item for item in items}.values())
    step = -(-len(different) // TRIED)
    tried, others = different[::step], different[step // 2 :: step]  # what an earlier try has filled says nothing
    missing = sum(not cache.has(item) for item in others) / len(others)
    cache.fill(tried)
    size = sum(features.nbytes for item in tried for features in features_of(cache(item))) / len(tried)
    batches = _batches(tried, stage.batch_size)
    tower = min(_seconds(lambda: [cache.encode(batch) for batch in batches]) for _ in range(2)) / len(tried)
    read = min(_seconds(lambda: [_read(cache, batch) for batch in batches]) for _ in range(2)) / len(tried)
    uses = passes * len(items)
    without, with_cache = uses * tower, missing * len(different) * tower + uses * read
    fits = size * len(different) <= how.max_gb * GB
    wins = fits and with_cache < without
    say(
        f"cache_features: an item takes {tower:.2g} s through its tower, {read:.2g} s from the cache; "
        f"{len(different)} items used {uses:.0f} times: {without:.0f} s without, {with_cache:.0f} s with"
        f"{'' if fits else f', which would be {size * len(different) / GB:.1f} GB'}: {'kept' if wins else 'not kept'}"
    )
    return wins


def _passes(stage: Stage, samples: int, batches: Epochs | None) -> float:
    """How often the stage goes over its data; where time ends it, that is the most."""
    if stage.max_steps < 0:
        return stage.epochs
    an_epoch = max(samples, 1) / stage.batch_size if batches is None else len(batches) / batches.epochs
    return stage.max_steps * stage.gradient_accumulation * world_size() / an_epoch


def _batches(items: Sequence[Item], size: int) -> list[list[Item]]:
    """Items of one modality together."""
    found = []
    for modality in {item.modality: None for item in items}:
        own = [item for item in items if item.modality == modality]
        found += [own[start : start + size] for start in range(0, len(own), size)]
    return found


def _read(cache: FeatureCache, batch: Sequence[Item]) -> list[torch.Tensor]:
    """The features of a batch, read to the last number."""
    every: list[Parts] = [cache(item) for item in batch]
    return [features.clone() for parts in every for features in features_of(parts)]


def _seconds(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start
