"""Stages by their names: in messages, and as directories that are complete or not. Light."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import KitError


@contextmanager
def in_stage(name: str) -> Iterator[None]:
    """Where a KitError is raised: it names the stage, if it does not yet."""
    try:
        yield
    except KitError as error:
        if not str(error).startswith("stage "):
            error.args = (f"stage {name!r}: {error}",)
        raise


def is_complete(directory: Path) -> bool:
    """Whether the stage that writes this directory has written its model."""
    return os.path.exists(directory / "config.json")
