"""Features by Ray Data: ``python examples/features/by_ray.py MODEL ROWS FOLDER`` fills a cache that training reads.

Each worker is a process with the model, frozen; Ray gives it items of the rows, whose features it puts into the folder
that all workers share. FOLDER is ``features.cache`` in a recipe's `output`, or the `dir` of its `cache_features`; the
stage that starts from MODEL then encodes nothing. ``pip install 'ray[data]'`` first.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from tinyllava_kit import ConversationDataset, FeatureCache, TinyLlavaProcessor, load_pretrained

TOGETHER = 1024  # items that a worker is given at once, and writes into one file


class Encoder:
    """A worker: `FeatureCache.fill` of a block of items, and how many of them it encoded."""

    def __init__(self, model: str, folder: str, device: str) -> None:
        opened, processor = load_pretrained(model)
        self.cache = FeatureCache(opened.to(device), processor, folder)

    def __call__(self, block: dict[str, Any]) -> dict[str, list[int]]:
        return {"encoded": [self.cache.fill(block["item"])]}


def whole(name: str) -> str:
    """A path that is the same in all workers, which may start in another folder."""
    return str(Path(name).resolve())


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=whole, help="a model directory, which each machine finds there")
    parser.add_argument("rows", type=whole, help="a file of rows, as the recipe's `data` names it")
    parser.add_argument("folder", type=whole, help="of the features; each machine finds it there, too")
    parser.add_argument("--limit", type=int, help="use the first so many rows only")
    parser.add_argument("--workers", type=int, default=2, help="processes with the model")
    parser.add_argument("--cpus", type=float, default=1.0, help="of each worker")
    parser.add_argument("--gpus", type=float, default=0.0, help="of each worker, parts of one too")
    given = parser.parse_args(words)

    processor = TinyLlavaProcessor.from_pretrained(given.model)
    rows = ConversationDataset.from_file(given.rows, processor, limit=given.limit)
    items = list({i.key: i for row in rows.conversations for i in processor.input_items(row)}.values())
    blocks = max(given.workers, -(-len(items) // TOGETHER))
    encoded = ray.data.from_items([{"item": item} for item in items], override_num_blocks=blocks).map_batches(
        Encoder,
        fn_constructor_args=(given.model, given.folder, "cuda" if given.gpus else "cpu"),
        batch_size=None,  # a block
        compute=ray.data.ActorPoolStrategy(size=given.workers),
        num_cpus=given.cpus,
        num_gpus=given.gpus,
    )
    print(f"encoded {encoded.sum('encoded') if items else 0} of {len(items)} items; the rest was there")


if __name__ == "__main__":
    main()
