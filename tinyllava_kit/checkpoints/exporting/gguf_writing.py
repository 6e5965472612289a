"""Tensors written to a gguf file, read again and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import KitError

DTYPES = {"float32": torch.float32, "float16": torch.float16}
_HALF_MAX = 65504.0
_NEVER_HALF = ("v.position_embd.", "v.class_embd")


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: its name there and in the kit; of `heads` heads whose rows llama.cpp wants in pairs, or 0.

    plus: a number to add to it.
    """

    name: str
    tensor: Tensor
    heads: int = 0
    plus: float = 0.0

    def values(self, dtype: torch.dtype) -> np.ndarray:
        """As it is written."""
        tensor = self.tensor.detach().cpu().float() + self.plus
        if self.heads:
            tensor = paired(tensor, self.heads)
        return tensor.to(self.dtype(dtype)).contiguous().numpy()

    def dtype(self, wanted: torch.dtype) -> torch.dtype:
        """The dtype in the file; llama.cpp requires norms, biases and positions in float32."""
        alone = self.tensor.ndim == 1 or self.name.startswith(_NEVER_HALF)
        return torch.float32 if alone else wanted


@dataclass(frozen=True, kw_only=True)
class Written:
    """A file whose tensors were read again and are the model's."""

    file: str
    num_tensors: int
    num_bytes: int
    dtype: str


def paired(rows: Tensor, heads: int) -> Tensor:
    """The rows (heads * d, ...) of each head's two halves in turns: how llama.cpp's rotation wants queries and keys.

    transformers rotates row i of a head with row i + d/2, llama.cpp row 2i with row 2i + 1.
    """
    halves = rows.unflatten(0, (heads, 2, -1))  # (heads, 2, d/2, ...)
    return halves.transpose(1, 2).flatten(0, 2)  # (heads * d, ...)


def unpaired(rows: Tensor, heads: int) -> Tensor:
    """The inverse of `paired`."""
    turns = rows.unflatten(0, (heads, -1, 2))  # (heads, d/2, 2, ...)
    return turns.transpose(1, 2).flatten(0, 2)  # (heads * d, ...)


def open_writer(path: Path, arch: str, kind: str, name: str, dtype: str) -> Any:
    """A writer of a file, which says what it is of."""
    import gguf

    writer = gguf.GGUFWriter(path, arch)
    writer.add_type(kind)
    writer.add_name(name)
    half = dtype == "float16"
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if half else gguf.LlamaFileType.ALL_F32)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    return writer


def write_entries(writer: Any, path: Path, entries: Sequence[Entry], dtype: str) -> Written:
    """Write the tensors, one in memory at a time, read them again and compare.

    Raises:
        KitError: a weight is too large for float16.
    """
    wanted = DTYPES[dtype]
    for entry in entries:
        made = entry.dtype(wanted)
        if made == torch.float16 and float(entry.tensor.abs().max()) > _HALF_MAX:
            raise KitError(f"{entry.name}: has weights beyond {_HALF_MAX:.0f}, float16's largest; use --dtype float32")
        shape = tuple(entry.tensor.shape)
        kind = np.dtype(np.float16 if made == torch.float16 else np.float32)
        writer.add_tensor_info(entry.name, shape, kind, entry.tensor.numel() * kind.itemsize)
    with closing(writer):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for entry in entries:
            writer.write_tensor_data(entry.values(wanted))
    check_written(path, entries, wanted)
    return Written(file=path.name, num_tensors=len(entries), num_bytes=path.stat().st_size, dtype=dtype)


def check_written(path: Path, entries: Sequence[Entry], dtype: torch.dtype) -> None:
    """Compare every tensor of a file with the model's, the order of rows undone.

    Raises:
        KitError: one is missing, surplus or differs.
    """
    import gguf

    found = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    wanted: Mapping[str, Entry] = {entry.name: entry for entry in entries}
    if found.keys() != wanted.keys() or len(wanted) != len(entries):
        raise KitError(f"{path.name}: read back with other tensors than were written: {found.keys() ^ wanted.keys()}")
    for name, entry in wanted.items():
        read = torch.from_numpy(np.array(found[name].data))
        read = unpaired(read, entry.heads) if entry.heads else read
        ours = (entry.tensor.detach().cpu().float() + entry.plus).to(entry.dtype(dtype))
        if not torch.equal(read, ours):
            raise KitError(f"{path.name}: {name} differs from the model's when it is read back")
