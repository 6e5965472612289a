"""Reading files that may hold anything: every failure is one line that names the file. Light."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import KitError
from .opening import read_json


def read_mapping(file: Path) -> dict[str, Any]:
    """A file of JSON.

    Raises:
        KitError: it is not there, not JSON, or not a mapping.
    """
    content = read_json(file)
    if not isinstance(content, dict):
        raise KitError(f"{file}: expected a mapping, got {type(content).__name__}")
    return content


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turns what another library raises about the content of its own file into one line that names the file.

    Such libraries raise anything: a missing key, a division by zero, an overflow. Wrap a call of theirs, not ours.

    Args:
        what: the file, and what was to be made of it.

    Raises:
        KitError: as the library raised, from that.
    """
    try:
        yield
    except KitError:
        raise
    except Exception as error:
        kind = "" if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: "
        raise KitError(f"{what}: {kind}{first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """The first line of an exception's text; a user needs no more."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) <= 500 else f"{line[:500]}..."
