"""Features in a folder: safetensors shards that several processes read and write at once.

A shard's name begins with its space, which says what made the features; in it they stand by keys, which say of what.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import KitError
from ..files.failures import first_line
from ..files.printable import printable
from ..files.writing import to_disk
from ..processing.encoded import EncodedItem, Parts

GB = 1e9
_SUFFIX = ".safetensors"
_UNFINISHED = ".unfinished-"


@dataclass
class _Shard:
    """A shard as it was found: what its header says of each key, and whether its numbers were checked."""

    entries: dict[str, dict[str, Any]]
    checked: bool = False


class FeatureStore:
    """Parts of items by space and key, in `folder`; read from the mapped files when they are asked for.

    A shard is written beside and renamed under a lock, so a killed process leaves none that is half written. A damaged
    one is removed where it is met. What was used last stays longest: when `max_bytes` are passed, the shards go that
    nobody has used for the longest time. A shard that a process has used stays readable for it, removed or not.

    Args:
        folder: made when something is written.
        max_bytes: of all shards of all spaces; None: no bound.
    """

    def __init__(self, folder: str | os.PathLike[str], max_bytes: float | None = None) -> None:
        self.folder, self.max_bytes = Path(folder), max_bytes
        self._shards: dict[Path, _Shard] = {}
        self._open: dict[Path, Any] = {}
        self._places: dict[tuple[str, str], Path] = {}

    def find(self, space: str) -> None:
        """Look for the shards of a space that were written since the last look."""
        for path in sorted(self.folder.glob(f"{space}-*{_SUFFIX}")):
            if path not in self._shards:
                self._add(path, space)

    def has(self, space: str, key: str) -> bool:
        """Whether features are there and, where their shard is used for the first time, whether it is sound."""
        while (path := self._places.get((space, key))) is not None:
            if self._shards[path].checked or self._check(path):
                return True
            self._forget(path)
        return False

    def get(self, space: str, key: str) -> Parts:
        """What `write` was given.

        Raises:
            KitError: the shard is gone or damaged.
        """
        path = self._places[space, key]
        try:
            shard = self._handle(path)
            return [
                part if isinstance(part, str) else EncodedItem(**part, features=shard.get_tensor(f"{key}.{number}"))
                for number, part in enumerate(self._shards[path].entries[key]["parts"])
            ]
        except (OSError, SafetensorError) as error:
            raise KitError(f"cannot read features of {str(path)!r}: {first_line(error)}; start again") from error

    def write(self, space: str, entries: Mapping[str, Parts]) -> None:
        """A new shard with these parts, whose items have features.

        Raises:
            KitError: it cannot be written, or what this process uses would pass the bound.
        """
        tensors, header = {}, {}
        for key, parts in entries.items():
            items = {f"{key}.{n}": p.features for n, p in enumerate(parts) if isinstance(p, EncodedItem)}
            own = {name: features.contiguous() for name, features in items.items() if features is not None}
            header[key] = {"parts": [_described(part) for part in parts], "crc": _checksum(own)}
            tensors.update(own)
        path = self.folder / f"{space}-{uuid4().hex[:16]}{_SUFFIX}"
        unfinished = self.folder / f"{_UNFINISHED}{path.name}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"):
                for abandoned in self.folder.glob(f"{_UNFINISHED}*"):  # whoever wrote it was killed: we have the lock
                    abandoned.unlink()
                try:
                    described = json.dumps(header)
                    metadata = {"entries": described, "crc": str(zlib.crc32(described.encode()))}
                    save_file(tensors, unfinished, metadata=metadata)
                    to_disk(unfinished)
                    self._make_room(unfinished.stat().st_size)
                    unfinished.replace(path)
                finally:
                    unfinished.unlink(missing_ok=True)
        except (OSError, SafetensorError) as error:
            raise KitError(f"cannot write features to {str(self.folder)!r}: {first_line(error)}") from error
        self._add(path, space)
        self._shards[path].checked = True

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # mapped files are opened again where they are read

    def _add(self, path: Path, space: str) -> None:
        try:
            header = _header(self._handle(path).metadata())
        except (SafetensorError, TypeError, KeyError, ValueError):
            self._remove_damaged(path)
        except OSError:  # another process has removed it
            return
        else:
            self._shards[path] = _Shard(header)
            self._places.update({(space, key): path for key in header})

    def _check(self, path: Path) -> bool:
        """Compare a shard's numbers with their checksums, and note that it is used."""
        try:
            shard = self._handle(path)
            for key, entry in self._shards[path].entries.items():
                numbers = [n for n, part in enumerate(entry["parts"]) if not isinstance(part, str)]
                if _checksum({f"{key}.{n}": shard.get_tensor(f"{key}.{n}") for n in numbers}) != entry["crc"]:
                    raise ValueError("numbers have changed")
            os.utime(path)
        except (SafetensorError, ValueError):
            self._remove_damaged(path)
            return False
        except OSError:
            return False
        self._shards[path].checked = True
        return True

    def _handle(self, path: Path) -> Any:
        if path not in self._open:
            self._open[path] = safe_open(path, "pt")
        return self._open[path]

    def _remove_damaged(self, path: Path) -> None:
        print(printable(f"{path}: damaged features, which are removed and made again"))
        path.unlink(missing_ok=True)

    def _forget(self, path: Path) -> None:
        del self._shards[path]
        self._open.pop(path, None)
        self._places = {place: where for place, where in self._places.items() if where != path}

    def _make_room(self, size: int) -> None:
        """Remove what was not used for longest, but nothing that this process uses."""
        if self.max_bytes is None:
            return
        found = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in self.folder.glob(f"*{_SUFFIX}"))
        found = [each for each in found if not each[2].name.startswith(_UNFINISHED)]
        size += sum(each for _, each, _ in found)
        for _, own, path in found:
            if size <= self.max_bytes:
                return
            if not (path in self._shards and self._shards[path].checked):
                path.unlink()
                size -= own
        if size > self.max_bytes:
            raise KitError(
                f"cache_features: the features take more than max_gb {self.max_bytes / GB:g} in {str(self.folder)!r}; "
                "raise it, or leave cache_features out"
            )


def _described(part: EncodedItem | str) -> Any:
    """A part without its features, as JSON."""
    if isinstance(part, str):
        return part
    return {"modality": part.modality, "num_features": list(part.num_features)}


def _header(metadata: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What a shard says of its keys.

    Raises:
        ValueError: not as it was written, by its checksum.
    """
    if str(zlib.crc32(metadata["entries"].encode())) != metadata["crc"]:
        raise ValueError("the header has changed")
    return json.loads(metadata["entries"])


def features_of(parts: Parts) -> list[Tensor]:
    """The features of an item's parts, each (P, E), where a tower has run."""
    items = [part for part in parts if isinstance(part, EncodedItem)]
    return [item.features for item in items if item.features is not None]


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    """Of names, types, shapes and numbers."""
    crc = 0
    for name, tensor in tensors.items():
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode(), crc)
        crc = zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data, crc)
    return crc
