"""An external checkpoint written as a model directory of this kit, a shard at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..files.writing import write_json
from ..model.storage.replaced import atomic_model
from .external.mapping import MappedCheckpoint, WeightRow
from .external.weights import Lazy

SHARD_BYTES = 2_000_000_000


def convert(
    external: MappedCheckpoint,
    target: str | os.PathLike[str],
    *,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write the model and its processor; memory holds one shard, and `target` appears whole or not at all.

    Args:
        external: of `open_external`.
        target: the directory to write.
        dtype: of the weights; None: unchanged.
        shard_bytes: the most weights in a file.

    Raises:
        KitError: it cannot be written.
    """
    external.config.dtype = dtype or external.dtype
    with atomic_model(target) as stage:
        write_shards(external.tensors, stage, dtype=dtype, shard_bytes=shard_bytes)
        external.config.architectures = ["TinyLlavaForConditionalGeneration"]
        external.config.save_pretrained(stage)
        external.generation_config().save_pretrained(stage)
        external.processor().save_pretrained(stage)


def write_shards(
    tensors: Mapping[str, Lazy], folder: Path, *, dtype: torch.dtype | None, shard_bytes: int = SHARD_BYTES
) -> None:
    """``model.safetensors``, or shards and their index, as transformers writes them."""
    shards = list(_shards(tensors, dtype, shard_bytes))
    names = [f"model-{n:05d}-of-{len(shards):05d}.safetensors" for n in range(1, len(shards) + 1)]
    if len(shards) == 1:
        names = ["model.safetensors"]
    weight_map = {}
    for name, shard in zip(names, shards, strict=True):
        save_file({key: _read(tensors[key], dtype) for key in shard}, folder / name, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(shard, name))
    if len(shards) > 1:
        total = sum(_size(tensor, dtype) for tensor in tensors.values())
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_json(folder / "model.safetensors.index.json", index, indent=2)


def table_of(rows: Sequence[WeightRow]) -> list[list[str]]:
    """Every key of the checkpoint and of the model; keys that differ in a layer's number alone share a line."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        external_key, key = (re.sub(r"(?<=\.)\d+(?=\.)", "*", each) for each in (row.external_key, row.key))
        groups.setdefault((external_key, key, row.note), []).append(row.external_key or row.key)
    table = [["CHECKPOINT", "HERE", "KEYS", "NOTE"]]
    for (external_key, key, note), keys in groups.items():
        table.append([external_key or "-", key or "-", str(len(keys)), note])
    return table


def _shards(tensors: Mapping[str, Lazy], dtype: torch.dtype | None, shard_bytes: int) -> Iterator[list[str]]:
    shard: list[str] = []
    size = 0
    for name, tensor in tensors.items():
        more = _size(tensor, dtype)
        if shard and size + more > shard_bytes:
            yield shard
            shard, size = [], 0
        shard.append(name)
        size += more
    yield shard


def _size(tensor: Lazy, dtype: torch.dtype | None) -> int:
    wanted = dtype if dtype is not None and tensor.dtype.is_floating_point else tensor.dtype
    return int(torch.Size(tensor.shape).numel() * wanted.itemsize)


def _read(tensor: Lazy, dtype: torch.dtype | None) -> Tensor:
    value = tensor.read()
    return (value.to(dtype) if dtype is not None and value.is_floating_point() else value).contiguous()
