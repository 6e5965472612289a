"""Items of any modality, changed: an array is looked for in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Rebuild = Callable[[np.ndarray], Any]


def as_array(item: Any) -> tuple[np.ndarray, Rebuild] | None:
    """The array of an item and what makes an item of another such array; None where there is no array in it."""
    if isinstance(item, Image.Image):
        return np.array(item), Image.fromarray
    if isinstance(item, Tensor):
        return item.numpy().copy(), lambda array: torch.from_numpy(np.ascontiguousarray(array))
    if isinstance(item, np.ndarray):
        return item.copy(), lambda array: array
    if isinstance(item, (list, tuple)) and item and len({np.shape(each) for each in item}) == 1:
        return _of_list(item)
    if is_dataclass(item) and not isinstance(item, type):
        return _of_fields(item)
    return None


def _of_list(items: Any) -> tuple[np.ndarray, Rebuild] | None:
    found = [as_array(each) for each in items]
    if any(each is None for each in found):
        return None
    pairs = [each for each in found if each is not None]
    arrays = np.stack([array for array, _ in pairs])
    return arrays, lambda made: type(items)(again(each) for each, (_, again) in zip(made, pairs, strict=True))


def _of_fields(item: Any) -> tuple[np.ndarray, Rebuild] | None:
    for field in fields(item):
        if (found := as_array(getattr(item, field.name))) is not None:
            return found[0], partial(_with_field, item, field.name, found[1])
    return None


def _with_field(item: Any, name: str, again: Rebuild, array: np.ndarray) -> Any:
    return replace(item, **{name: again(array)})


def noise_like(array: np.ndarray, seed: int) -> np.ndarray:
    """Other values between the array's smallest and largest, of its shape and type."""
    chance = np.random.default_rng(seed)
    low, high = array.min(initial=0), array.max(initial=1)
    if np.issubdtype(array.dtype, np.integer):
        return chance.integers(int(low), int(high) + 1, array.shape).astype(array.dtype)
    return chance.uniform(float(low), float(high), array.shape).astype(array.dtype)


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


def other_content(item: Any, seed: int = 2) -> Any | None:
    """An item of the same size with other values; None where it has no array."""
    found = as_array(item)
    return None if found is None else found[1](noise_like(found[0], seed))
