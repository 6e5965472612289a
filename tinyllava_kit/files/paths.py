"""Names of directories that a user may have mistyped: the disk is searched before a hub. Light."""

from __future__ import annotations

import difflib
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import KitError, shown

_SURE = 0.8  # how alike a name is that is meant as a directory's, though it could be one of a hub
_LIKE = 0.6
_MOST = 3  # that are suggested
_HUB_NAME = re.compile(r"([A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", re.ASCII)


def is_there(name: str | os.PathLike[str]) -> bool:
    """Whether something of this name is here; of one that no file can have, pathlib's own answer is an exception."""
    return os.path.exists(os.path.expanduser(name))


def could_be_on_a_hub(name: str) -> bool:
    """Whether a hub may know a name: ``name`` or ``org/name``; of another it need not be asked."""
    well_formed = _HUB_NAME.fullmatch(name) and "--" not in name and ".." not in name
    return bool(well_formed) and len(name) <= 96 and not name.endswith((".git", ".", "-"))


def offline() -> bool:
    """Whether the environment forbids the network (``HF_HUB_OFFLINE``)."""
    return os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")


def refuse_mistyped(
    name: str, what: str, *, with_org: bool = False, cache: str | os.PathLike[str] | None = None
) -> None:
    """For a name without a directory here: refuse one that no hub may know, and one close to that of a directory here.

    Also what would have to be downloaded where there is no network: the hub's own library tries for half a minute.

    Args:
        what: as messages call it. with_org: on a hub it would be ``org/name``, never ``name`` alone.
        cache: where downloads lie; None: the hub's own place.

    Raises:
        KitError: says which directories are meant.
    """
    if not could_be_on_a_hub(name) or (with_org and "/" not in name):
        raise KitError(f"no {what} {shown(name)}; {meant(name) or 'give an existing one, or a hub name (org/name)'}")
    if (advice := meant(name, cutoff=_SURE)) and not _is_downloaded(name, cache):
        raise KitError(f"no {what} {name!r}; {advice} (the hub's of that name is taken once it is downloaded)")
    if (host := _hub_without_address()) and not _is_downloaded(name, cache):
        raise KitError(
            f"no {what} {name!r} here, and it cannot be downloaded: {host} has no address; give an existing directory, "
            "or run this once where there is a network"
        )


def _is_downloaded(name: str, cache: str | os.PathLike[str] | None) -> bool:
    from huggingface_hub import constants  # takes a while to import

    return Path(cache or constants.HF_HUB_CACHE, f"models--{name.replace('/', '--')}", "snapshots").is_dir()


def _hub_without_address() -> str:
    """The hub's host where the network knows no address of it; empty where it may be asked, or is never asked."""
    from urllib.request import getproxies

    if offline() or getproxies():  # a proxy knows addresses of its own
        return ""
    host = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname or ""
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return host
    return ""


def meant(name: str, *, files: bool = False, cutoff: float = _LIKE) -> str:
    """``did you mean 'my-runs/joint'?``, of the directories that are there; empty where none is like the name.

    Args:
        files: of files, too. cutoff: how alike they are, 1 is the same.
    """
    found = list(_near(name, files, cutoff))[:_MOST]
    return f"did you mean {' or '.join(map(repr, found))}?" if found else ""


def _near(name: str, files: bool, cutoff: float) -> Iterator[str]:
    """Existing paths like `name`, part by part: any of its directories may be mistyped."""
    path = Path(os.path.expanduser(name))
    places = [Path(path.anchor)]
    parts = path.relative_to(path.anchor).parts
    for index, part in enumerate(parts):
        with_files = files and index == len(parts) - 1
        places = [found for place in places for found in _inside(place, part, with_files, cutoff)]
    yield from (str(place) for place in places if str(place) != str(path))


def _inside(place: Path, name: str, files: bool, cutoff: float) -> list[Path]:
    if os.path.isdir(place / name) or (files and os.path.isfile(place / name)) or name == "..":
        return [place / name]
    try:
        names = [each.name for each in place.iterdir() if files or each.is_dir()]
    except OSError:
        return []
    return [place / each for each in difflib.get_close_matches(name, names, n=_MOST, cutoff=cutoff)]
