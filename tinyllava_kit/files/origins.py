"""Where something came from, as a file says it that may be given away: no path of this machine. Light."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CACHED = "models--"  # in front of a model's folder in the cache of the hub


def origin(place: str) -> str:
    """A hub name or a relative path as it is, of a path from the root its last name alone.

    Example:
        >>> origin("org/name"), origin("/home/me/models/llm"), origin("/cache/models--org--name/snapshots/1f")
        ('org/name', 'llm', 'org/name')
    """
    path = Path(place)
    if not (path.is_absolute() or place.startswith("~")):
        return place
    cached = [part.removeprefix(_CACHED).replace("--", "/") for part in path.parts if part.startswith(_CACHED)]
    return cached[-1] if cached else path.name


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as it is saved: each ``checkpoint`` and ``_name_or_path`` in it is an `origin`, and of a relative
    path that is there its last name, so that what has an owner is on the hub."""
    return {key: _cleaned(key, value) for key, value in config.items()}


def _cleaned(key: str, value: Any) -> Any:
    if key in ("checkpoint", "_name_or_path") and isinstance(value, str):
        return Path(value).name if "/" in value and os.path.exists(value) and origin(value) == value else origin(value)
    return without_places(value) if isinstance(value, Mapping) else value


def sealed(place: str) -> str:
    """An `origin` that still tells apart what lies in different folders.

    Example:
        >>> sealed("rows.json"), sealed("/data/rows.json")
        ('rows.json', 'rows.json (in a folder of digest bb11ae01)')
    """
    name = origin(place)
    return name if name == place else f"{name} (in a folder of digest {hashlib.sha256(place.encode()).hexdigest()[:8]})"


def word_of(word: str) -> str:
    """A word of a command line, ``--root=/data/x`` as ``--root=x``."""
    option, equals, place = word.rpartition("=")
    return f"{option}{equals}{origin(place)}"


def row_of(name: str) -> str:
    """What a row is called, ``/data/rows.json[3] 'id'`` as ``rows.json[3] 'id'``."""
    file, bracket, rest = name.partition("[")
    return f"{origin(file)}{bracket}{rest}"
