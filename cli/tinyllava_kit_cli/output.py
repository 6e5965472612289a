"""The directory that a command writes."""

from __future__ import annotations

from pathlib import Path

from tinyllava_kit.core.errors import KitError


def refuse_taken(output: str, advice: str = "choose another one") -> None:
    """
    Raises:
        KitError: `output` is a file, or a directory with something in it.
    """
    path = Path(output)
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise KitError(f"{output!r} exists and is not empty; {advice}")
