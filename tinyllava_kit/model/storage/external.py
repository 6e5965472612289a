"""Directories of other projects, behind the public classes' ``from_pretrained``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...files.opening import check_directory, open_file
from ...files.paths import refuse_mistyped
from ...plugin.specs import import_target

_OPENER = "tinyllava_kit.checkpoints.external.layouts:open_external"


def open_if_external(path: str | os.PathLike[str], cache_dir: str | os.PathLike[str] | None = None, **how: Any) -> Any:
    """Another project's checkpoint, where `path` is a directory of one, opened.

    The package knows other projects, the core does not. None for a directory of this kit, one without ``config.json``,
    and a hub name.

    Args:
        cache_dir: where downloads lie; None: the hub's own place. how: for the layout that opens it.

    Raises:
        KitError: of no layout that is read, or damaged, or with a pipe, a socket or a device among its files; or no
            directory, and no name that a hub may know, or nearly that of one that is here.
    """
    if not Path(path).expanduser().exists():
        refuse_mistyped(str(path), "model directory", with_org=True, cache=cache_dir)
    check_directory(path)
    try:
        with open_file(Path(path) / "config.json") as file:
            config = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(config, Mapping) or is_kit_model(config):
        return None
    return import_target(_OPENER)(path, **how)


def is_kit_model(config: Mapping[str, Any]) -> bool:
    """Whether a ``config.json`` is that of a model of this kit."""
    return config.get("model_type") == "tinyllava" and isinstance(config.get("llm"), Mapping)
