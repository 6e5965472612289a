"""Items of any modality, changed: the numbers in them are looked for, in whatever they are kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Rebuild = Callable[[np.ndarray], Any]
_NUMBERS = "biufc"  # kinds of numpy's types
_PLAIN = (bool, int, float)


def as_array(item: Any) -> tuple[np.ndarray, Rebuild] | None:
    """The largest array of an item and what makes an item of another such array; None where there is none in it.

    A list of equal arrays, or of numbers, is one array.
    """
    if isinstance(item, Image.Image):
        return np.array(item), Image.fromarray
    if isinstance(item, Tensor):
        return _of_tensor(item)
    if isinstance(item, np.ndarray):
        return (item.copy(), lambda array: array) if item.dtype.kind in _NUMBERS else None
    if isinstance(item, (list, tuple)) and (found := _of_equals(item)) is not None:
        return found
    found_in = [
        (each, partial(_with_part, item, key, each[1])) for key, part in _parts(item) if (each := as_array(part))
    ]
    if not found_in:
        return None
    (array, _), again = max(found_in, key=lambda each: each[0][0].size)
    return array, again


def numbers_in(item: Any) -> list[np.ndarray]:
    """Every array and number of an item, in order; texts, such as the name of a file, are left out."""
    if isinstance(item, (Image.Image, Tensor, np.ndarray)):
        found = as_array(item)
        return [] if found is None else [found[0]]
    if isinstance(item, (*_PLAIN, np.number)):
        return [np.asarray(item)]
    return [array for _, part in _parts(item) for array in numbers_in(part)]


def _of_tensor(item: Tensor) -> tuple[np.ndarray, Rebuild]:
    numbers = item.detach().cpu()
    array = (numbers.float() if numbers.dtype in (torch.bfloat16,) else numbers).numpy().copy()
    return array, lambda made: torch.from_numpy(np.ascontiguousarray(made)).to(item.dtype)


def _of_equals(items: Any) -> tuple[np.ndarray, Rebuild] | None:
    """Of parts that are numbers, or have arrays of one shape: all of them behind one another."""
    if items and (kind := type(items[0])) in _PLAIN and all(type(each) is kind for each in items):
        return np.asarray(items), lambda made: _like(items, (kind(each) for each in made.tolist()))
    found = [as_array(each) for each in items]
    pairs = [each for each in found if each is not None]
    if len(pairs) < len(found) or len({array.shape for array, _ in pairs}) != 1:
        return None
    stacked = np.stack([array for array, _ in pairs])
    return stacked, lambda made: _like(items, (again(each) for each, (_, again) in zip(made, pairs, strict=True)))


def _like(items: Any, parts: Iterator[Any]) -> Any:
    """A list or tuple of the class of another; a named tuple takes its parts one by one."""
    return type(items)(*parts) if hasattr(items, "_fields") else type(items)(parts)


def _parts(item: Any) -> list[tuple[Any, Any]]:
    """What an item is made of, by a key or name; nothing where it is one thing."""
    if isinstance(item, Mapping):
        return list(item.items())
    if isinstance(item, (list, tuple)):
        return list(enumerate(item))
    if is_dataclass(item) and not isinstance(item, type):
        return [(field.name, getattr(item, field.name)) for field in fields(item)]
    return list(vars(item).items()) if type(item).__module__ != "builtins" and hasattr(item, "__dict__") else []


def _with_part(item: Any, key: Any, again: Rebuild, array: np.ndarray) -> Any:
    """The item with another part of that key."""
    part = again(array)
    if isinstance(item, (list, tuple)):
        return _like(item, (part if number == key else each for number, each in enumerate(item)))
    if is_dataclass(item) and not isinstance(item, type):
        return replace(item, **{key: part})
    other = copy.copy(item)
    if isinstance(item, Mapping):
        other[key] = part
    else:
        setattr(other, key, part)
    return other


def noise_like(array: np.ndarray, seed: int) -> np.ndarray:
    """Other values between the array's smallest and largest, of its shape and type; infinite values and NaN stay."""
    if array.dtype.kind == "c":
        return (noise_like(array.real, seed) + 1j * noise_like(array.imag, seed + 1)).astype(array.dtype)
    chance, real = np.random.default_rng(seed), np.isfinite(array)
    made: np.ndarray
    low, high = array.min(initial=0, where=real), array.max(initial=1, where=real)
    if array.dtype.kind in "iu":
        made = chance.integers(int(low), int(high), array.shape, endpoint=True, dtype=array.dtype)
    elif array.dtype.kind == "b":
        made = chance.random(array.shape) < 0.5
    else:
        made = chance.uniform(float(low), float(high), array.shape).astype(array.dtype)
    return np.where(real, made, array)


def changed(item: Any, part: int, parts: int, axis: int) -> Any | None:
    """The item with the values of one of its parts along an axis in another order, so that their statistics stay.

    None where it has no array, or a short one.
    """
    found = as_array(item)
    if found is None or found[0].ndim <= axis or found[0].shape[axis] < parts:
        return None
    array, again = found
    size = array.shape[axis]
    place = [slice(None)] * array.ndim
    place[axis] = slice(part * size // parts, (part + 1) * size // parts)
    values = array[tuple(place)]
    array[tuple(place)] = np.random.default_rng(part).permutation(values.reshape(-1)).reshape(values.shape)
    return again(array)


def num_axes(item: Any) -> int:
    """How many axes the array of an item has."""
    found = as_array(item)
    return 0 if found is None else found[0].ndim


def other_content(item: Any, seed: int = 2) -> Any | None:
    """An item of the same size with other values; None where it has no array."""
    found = as_array(item)
    return None if found is None else found[1](noise_like(found[0], seed))
