"""The error a user sees: one line, no traceback, exit code 2."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterable
from typing import Any


class KitError(Exception):
    """A mistake in what the user gave: what was wrong, what was expected, what to do next.

    The command line prints its text as one line and exits with 2. Anything else that is
    raised is a bug of the kit and keeps its traceback.
    """


class FusionError(KitError):
    """Placeholders, items and features do not add up; names the sample, the item and both numbers."""


class MissingPluginError(KitError):
    """A saved model or an assembly names a component that no installed plugin offers."""


class PluginError(KitError):
    """A mistake in a plugin; `fix` is what its author changes."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


def near(name: str, known: Iterable[str]) -> str:
    """The advice that ends an "unknown name" message.

    Example:
        >>> near("mlp2x_gellu", ["mlp2x_gelu", "linear"])
        "did you mean 'mlp2x_gelu'?"
    """
    import difflib

    known = sorted(set(known))
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "known: " + ", ".join(known) if known else "none is installed"


def shown(value: Any) -> str:
    """A name or a value in a message: as `repr`, on one line, and no longer than a line.

    Example:
        >>> len(shown("x" * 9999))
        200
    """
    return _SHORT.repr(os.fspath(value) if isinstance(value, os.PathLike) else value)


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 200
        self.maxlevel, self.maxlist, self.maxtuple, self.maxdict = 3, 4, 4, 6

    def repr_bytes(self, value: bytes, level: int) -> str:
        return f"<{len(value)} bytes>"


_SHORT = _Short()
