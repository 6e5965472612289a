"""The model that a command is given: a wrong name is reported before anything heavy is imported. Light."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllava_kit.errors import KitError
from tinyllava_kit.files.paths import is_there, refuse_mistyped
from tinyllava_kit.plugin.discovery import installed_catalog
from tinyllava_kit.plugin.extras import need

if TYPE_CHECKING:
    from tinyllava_kit.assembly.assembly import Assembly


def check_model(directory: str) -> None:
    """Check that a model can be loaded by this name, without loading it.

    Raises:
        KitError: neither a directory with a ``config.json`` nor a name that a hub may know, or weights of 8 or 4 bits
            where the package that reads them is not installed.
    """
    path = Path(os.path.expanduser(directory))
    if not path.exists():
        refuse_mistyped(directory, "model directory", with_org=True)
        return
    if not (path / "config.json").is_file():
        raise KitError(f"{directory!r} is not a model directory: it has no config.json{_inside(path)}")
    if _is_quantized(path):
        need("bitsandbytes", f"{directory!r} has weights of 8 or 4 bits, and")


def check_checkpoints(assembly: Assembly) -> None:
    """Check that every checkpoint of an assembly exists here, or may exist on a hub.

    Raises:
        KitError: an unknown part; or a checkpoint that is neither here nor a name that a hub may know.
    """
    resolved = assembly.resolve(installed_catalog())
    parts = (resolved.llm, *resolved.towers.values(), *resolved.decoders.values(), *resolved.connectors.values())
    for part in parts:
        if part.checkpoint and not is_there(part.checkpoint):
            refuse_mistyped(part.checkpoint, "checkpoint directory")


def _inside(path: Path) -> str:
    """The model directories that a directory holds, as the stages of a run."""
    try:
        found = sorted(each.parent.as_posix() for each in path.glob("*/config.json"))
    except OSError:
        return ""
    return f"; did you mean {' or '.join(map(repr, found[:3]))}?" if found else ""


def _is_quantized(path: Path) -> bool:
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False  # whoever reads it reports its faults
    settings = config.get("quantization_config") if isinstance(config, Mapping) else None
    return isinstance(settings, Mapping) and settings.get("quant_method") == "bitsandbytes"
