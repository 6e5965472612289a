"""The weights of a checkpoint as named tensors, each read when it is needed."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...errors import KitError
from ...files.failures import first_line
from ...pretrained.checkpoint import read_index

# In the order in which they are looked for; those with an index name their shards.
FILES = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)


@dataclass(frozen=True)
class Lazy:
    """A tensor that is there when `read` is called; its shape and dtype are known before."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @classmethod
    def of(cls, tensor: Tensor) -> Lazy:
        """One that is in memory already."""
        return cls(tuple(tensor.shape), tensor.dtype, lambda: tensor)


def weight_files(directory: Path) -> list[Path]:
    """The files that hold the weights of a directory, shards in order; empty where there are none.

    Raises:
        KitError: an index that cannot be read, or that names a file which is not there.
    """
    found = next((directory / name for name in FILES if (directory / name).is_file()), None)
    if found is None:
        return []
    if found.suffix != ".json":
        return [found]
    return read_index(found)


def open_weights(directory: Path) -> dict[str, Lazy]:
    """Every tensor of a directory's weights, by its name.

    Raises:
        KitError: no weights, a damaged file, or a pickle that holds anything but tensors.
    """
    files = weight_files(directory)
    if not files:
        raise KitError(f"{str(directory)!r} has no weights; expected one of {', '.join(FILES)}")
    tensors: dict[str, Lazy] = {}
    for file in files:
        tensors.update(open_file(file))
    return tensors


def open_file(file: Path) -> dict[str, Lazy]:
    """The tensors of one ``.safetensors`` or ``.bin`` file; see `open_weights`."""
    return _open_safetensors(file) if file.suffix == ".safetensors" else _open_pickle(file)


def _open_safetensors(file: Path) -> dict[str, Lazy]:
    try:
        with safe_open(file, framework="pt") as tensors:
            names = list(tensors.keys())
            slices = {name: tensors.get_slice(name) for name in names}
            headers = {name: (tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}
    except (SafetensorError, OSError) as error:
        raise KitError(f"{file}: damaged or incomplete: {first_line(error)}; copy it again") from error
    return {name: Lazy(shape, _DTYPES[kind], partial(_read, file, name)) for name, (shape, kind) in headers.items()}


def _read(file: Path, name: str) -> Tensor:
    with safe_open(file, framework="pt") as tensors:
        tensor: Tensor = tensors.get_tensor(name)
        return tensor


_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


def _open_pickle(file: Path) -> dict[str, Lazy]:
    """Mapped into memory, not read. ``weights_only`` refuses whatever is not a tensor or a plain container."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise KitError(f"{file}: refused, it holds code or other objects beside tensors: {_culprit(error)}") from error
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise KitError(f"{file}: not a file of weights, damaged or incomplete: {first_line(error)}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise KitError(f"{file}: expected a mapping of names to tensors, as state_dict gives one")
    return {str(name): Lazy.of(value) for name, value in state.items()}


def _culprit(error: BaseException) -> str:
    """What torch says of the object that it would not load, without its advice to load it all the same."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = (line for line in lines if "unsupported" in line.lower() or "GLOBAL" in line)
    return (
        next(telling, "an object of a kind that is not loaded")
        .partition(" whose ")[0]
        .removeprefix("WeightsUnpickler error: ")
    )
