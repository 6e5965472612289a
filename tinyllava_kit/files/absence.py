"""Absent values of a row: a null, or what a table writes in its place. Light."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Number
from typing import Any

_MARKS = ("NAType", "NaTType")  # of pandas, which need not be installed
_FILE = {"bytes", "path"}  # a file in a row of Hugging Face datasets


def absent(value: Any) -> bool:
    """Whether a value says that there is none: None, NaN of any type, pandas' NA and NaT, a file without a name and
    content. An empty text is a text.

    Example:
        >>> [absent(value) for value in (None, float("nan"), "", 0, [])]
        [True, True, False, False, False]
    """
    if value is None or type(value).__name__ in _MARKS:
        return True
    if isinstance(value, Mapping):
        return bool(value) and value.keys() <= _FILE and all(map(absent, value.values()))
    return isinstance(value, Number) and bool(value != value)


def present(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row, or a part of one, without its absent values."""
    return {key: value for key, value in row.items() if not absent(value)}
