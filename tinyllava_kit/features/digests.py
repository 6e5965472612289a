"""Digests of what features depend on: an item's content, a tower's weights, settings."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..files.opening import open_file
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..processing.encoded import EncodedItem, Parts
from ..processing.processor import TinyLlavaProcessor

FORMAT = 1  # of the features and their keys; a new number makes all new
_BYTES = 20
_CHUNK = 1 << 20


def tower_digest(modality: str, model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor) -> str:
    """Of all that makes a modality's features, but the item: component, weights with their dtypes, reading, expanding,
    preprocessing."""
    tower, reader = (model.config.component(kind, modality) for kind in ("tower", "modality"))
    preprocessor = processor.preprocessors[modality]
    settings = {
        "format": FORMAT,
        "modality": [modality, reader.name, reader.distribution, reader.version, dict(reader.options)],
        "tower": [tower.name, tower.distribution, tower.version, dict(tower.options), dict(tower.config)],
        "preprocessor": [type(preprocessor).__qualname__, preprocessor.settings()],
    }
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=_BYTES)
    for name, tensor in sorted(_state(model.towers[modality]).items()):
        digest.update(name.encode())
        _add_tensor(digest, tensor)
    return digest.hexdigest()


def decoder_digest(modality: str, model: TinyLlavaForConditionalGeneration, processor: TinyLlavaProcessor) -> str:
    """Of all that makes the ids of a modality's items, but the item: where they stand, the decoder and its weights,
    reading. The rows that are learned for them are not among it."""
    decoder, reader = (model.config.component(kind, modality) for kind in ("decoder", "modality"))
    coder: Any = model.decoders[modality].coder
    settings = {
        "format": FORMAT,
        "modality": [modality, reader.name, reader.distribution, reader.version, dict(reader.options)],
        "decoder": [decoder.name, decoder.distribution, decoder.version, dict(coder.config)],
        "ranges": [list(each) for each in model.config.token_ranges.get(modality, ())],
    }
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=_BYTES)
    for name, tensor in sorted(_state(coder).items()):
        if not name.startswith("rows."):
            digest.update(name.encode())
            _add_tensor(digest, tensor)
    return digest.hexdigest()


def source_digest(source: Any) -> str | None:
    """Of an item's source: a file's content, bytes, arrays, and lists and mappings of these; None for other objects."""
    digest = hashlib.blake2b(digest_size=_BYTES)
    try:
        _add(digest, source)
    except _OpaqueError:
        return None
    return digest.hexdigest()


def parts_digest(parts: Parts) -> str:
    """The digest of what the processor made of an item, for sources that nothing else identifies."""
    digest = hashlib.blake2b(b"parts", digest_size=_BYTES)
    for part in parts:
        if isinstance(part, EncodedItem):
            _add(digest, [list(part.num_features), [dict(row) for row in part.rows]])
        else:
            _add(digest, part.encode())
    return digest.hexdigest()


class _OpaqueError(Exception):
    """An object whose content cannot be seen."""


def _add(digest: Any, value: Any) -> None:
    """Add a value, its kind and its size in front, so that no two values give the same bytes.

    Raises:
        _OpaqueError: it is none of the known kinds.
    """
    if isinstance(value, (str, os.PathLike)) and os.path.exists(value):
        _add_file(digest, Path(value))
    elif value is None or isinstance(value, (str, bool, int, float)):
        _add(digest, repr(value).encode())
    elif isinstance(value, (bytes, bytearray, memoryview)):
        digest.update(f"bytes {len(value)} ".encode())
        digest.update(value)
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        digest.update(f"array {value.dtype.str} {value.shape} ".encode())
        digest.update(np.ascontiguousarray(value))
    elif isinstance(value, Tensor):
        _add_tensor(digest, value)
    elif isinstance(value, Mapping):
        digest.update(f"mapping {len(value)} ".encode())
        for key in sorted(value, key=repr):
            _add(digest, key)
            _add(digest, value[key])
    elif isinstance(value, (list, tuple)):
        digest.update(f"list {len(value)} ".encode())
        for each in value:
            _add(digest, each)
    else:
        raise _OpaqueError


def _add_file(digest: Any, path: Path) -> None:
    if not path.is_file():
        raise _OpaqueError
    digest.update(f"bytes {path.stat().st_size} ".encode())
    with open_file(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)


def _add_tensor(digest: Any, tensor: Tensor) -> None:
    digest.update(f"tensor {tensor.dtype} {tuple(tensor.shape)} ".encode())
    digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def _state(module: nn.Module) -> dict[str, Tensor]:
    """Parameters, scales of quantized ones, and all buffers."""
    state = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    return state | dict(module.named_buffers())
