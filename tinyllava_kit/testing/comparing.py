"""What contracts compare: features, items, what went through JSON."""

from __future__ import annotations

import json
import math
import pickle
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.interfaces import Features, Preprocessor, Tower
from ..errors import KitError


def collated(preprocessor: Preprocessor, items: Sequence[Any]) -> dict[str, Tensor]:
    """The inputs of a tower for all rows of items."""
    return preprocessor.collate([row for item in items for row in preprocessor(item)])


def encode(tower: Tower, preprocessor: Preprocessor, items: Sequence[Any]) -> Features:
    """The features of items, without a graph."""
    with torch.no_grad():
        return tower(**collated(preprocessor, items))


def distance(got: Tensor, expected: Tensor) -> float:
    """Relative, L2."""
    return float((got - expected).norm() / expected.norm())


def check_close(got: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """Check that two tensors have one shape and a `distance` below `tolerance`.

    Raises:
        AssertionError: `what` differs in shape, or by more than `tolerance`.
    """
    assert got.shape == expected.shape, f"{what}: shapes {tuple(got.shape)} and {tuple(expected.shape)}"
    apart = distance(got, expected)
    assert apart < tolerance, f"{what}: features differ by {apart:.2g}, expected less than {tolerance:g}"


def same(one: Any, other: Any, *, tolerance: float = 0.0) -> bool:
    """Whether two items are equal, arrays and tensors to the bit, or to a relative tolerance of floats; NaN is NaN."""
    if isinstance(one, Tensor):
        if not isinstance(other, Tensor) or one.shape != other.shape or one.dtype != other.dtype:
            return False
        if one.is_floating_point():
            return torch.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        if not isinstance(other, np.ndarray) or one.shape != other.shape:
            return False
        if {one.dtype.kind, other.dtype.kind} <= {*"fc"}:
            return np.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)
        return np.array_equal(one, other)
    if isinstance(other, (Tensor, np.ndarray)):
        return False
    if is_dataclass(one):
        return type(one) is type(other) and all(
            same(getattr(one, field.name), getattr(other, field.name), tolerance=tolerance) for field in fields(one)
        )
    if isinstance(one, Mapping):
        return (
            isinstance(other, Mapping)
            and one.keys() == other.keys()
            and all(same(one[key], other[key], tolerance=tolerance) for key in one)
        )
    if isinstance(one, (list, tuple)):
        return (
            isinstance(other, (list, tuple))
            and len(one) == len(other)
            and all(same(a, b, tolerance=tolerance) for a, b in zip(one, other, strict=True))
        )
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance) or (one != one and other != other)
    if (
        getattr(type(one), "__eq__", None) is object.__eq__
        and type(one).__module__ != "builtins"
        and hasattr(one, "__dict__")
    ):
        return type(one) is type(other) and same(vars(one), vars(other), tolerance=tolerance)
    return bool(one == other)


def through_json(value: Any) -> Any:
    """A value as JSON gives it back.

    Raises:
        AssertionError: it comes back as another.
    """
    again = json.loads(json.dumps(value))
    assert again == value, f"not plain JSON: {value} comes back as {again}"
    return again


def random_state() -> bytes:
    """The random numbers of the process: Python's, numpy's and torch's."""
    return pickle.dumps((torch.get_rng_state().tolist(), np.random.get_state(), random.getstate()))


def refusal(ask: Callable[..., object], *args: Any) -> str:
    """The text of the KitError that asking gives; empty where it gives none."""
    try:
        ask(*args)
    except KitError as error:
        return str(error)
    return ""


def check_refused(ask: Callable[..., object], what: str, named: str = "") -> None:
    """Check that a call raises a `KitError` of one line.

    Raises:
        AssertionError: `what` is taken, or is refused in more than one line, or without a name that is to be in it.
    """
    message = refusal(ask)
    assert message, f"{what}: not refused"
    assert "\n" not in message, f"{what}: more than one line: {message}"
    assert named in message, f"{what}: does not name {named}: {message}"
