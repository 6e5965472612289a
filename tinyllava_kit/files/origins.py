"""Where something came from, as a file says it that may be given away: no path of this machine. Light."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_ROW = re.compile(r"(.*?)(\[\d+\](?: .*)?)", re.DOTALL)
_QUOTED = re.compile(r"(['\"])(~?/[^'\"\n]*)\1")  # a place as messages show it
_BARE = re.compile(r"(?<![\w.~:/<'\"])~?/(?:[^\s/'\":;,()<>]+/)+")  # the folders of one that is not quoted
_CACHED = "models--"  # in front of a model's folder in the cache of the hub


def origin(place: str) -> str:
    """A hub name or a relative path, unchanged; of an absolute path, its last name.

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
    return name if name == place else f"{name} (in a folder of digest {digest_of(place)})"


def digest_of(place: str) -> str:
    """What distinguishes two places."""
    return hashlib.sha256(place.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def word_of(word: str) -> str:
    """A word of a command line, ``--root=/data/x`` as ``--root=x``."""
    option, equals, place = word.rpartition("=")
    return f"{option}{equals}{origin(place)}"


def row_of(name: str) -> str:
    """What a row is called, ``/data/rows.json[3] 'id'`` as ``rows.json[3] 'id'``."""
    file, number = _file_and_number(name)
    return f"{origin(file)}{number}"


def folder_of(name: str) -> str:
    """Of a row's file; empty where it is not from the root."""
    file, _ = _file_and_number(name)
    return os.path.dirname(file) if os.path.isabs(file) else ""


def said_of(name: str, text: str) -> str:
    """A message about a row, without full paths: those in its file's folder become relative, others keep one name.

    Example:
        >>> said_of("/data/rows.json[3]", "/data/rows.json[3]: '/data/images/1.png' is no picture, '/other/x/2.png'")
        "rows.json[3]: 'images/1.png' is no picture, '2.png'"
    """
    if folder := folder_of(name):
        text = text.replace(os.path.join(folder, ""), "")
    text = _QUOTED.sub(lambda found: f"{found[1]}{origin(found[2])}{found[1]}", text)
    return _BARE.sub("", text)


def _file_and_number(name: str) -> tuple[str, str]:
    found = _ROW.fullmatch(name)
    return (found[1], found[2]) if found else (name, "")
