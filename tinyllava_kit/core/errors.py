"""The error a user sees: one line, no traceback, exit code 2."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable


class KitError(Exception):
    """A mistake in what the user gave: what was wrong, what was expected, what to do next.

    The command line prints its text as one line and exits with 2. Anything else that is
    raised is a bug of the kit and keeps its traceback.
    """


class FusionError(KitError):
    """Placeholders, items and features do not add up; names the sample, the item and both numbers."""


class MissingPluginError(KitError):
    """A saved model or an assembly names a component that no installed plugin offers."""


def short(value: object) -> str:
    """A value in a message, however long it is.

    Example:
        >>> short("x" * 99)
        "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'"
    """
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 82


def near(name: str, known: Iterable[str]) -> str:
    """The advice that ends an "unknown name" message.

    Example:
        >>> near("mlp2x_gellu", ["mlp2x_gelu", "linear"])
        "did you mean 'mlp2x_gelu'?"
    """
    known = sorted(set(known))
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "known: " + ", ".join(known) if known else "none is installed"
