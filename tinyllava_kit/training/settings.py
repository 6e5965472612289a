"""The settings that a stage's outcome depends on: kept with it, and compared before anything is taken for done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import KitError
from ..core.files import write_json
from .recipe import Stage

SETTINGS_FILE = "stage.json"
# What does not change the model that comes out.
_HOUSEKEEPING = {"logging_steps", "save_steps", "workers", "cache_features"}


def settings_of(stage: Stage, source: Path, seed: int) -> dict[str, Any]:
    """What the outcome of a stage depends on, as JSON."""
    return {"model": str(source), "seed": seed, **stage.model_dump(mode="json", exclude=_HOUSEKEEPING)}


def check_same(settings: Mapping[str, Any], stage: Stage, folder: Path) -> None:
    """
    Raises:
        KitError: the stage that is complete in `folder`, or has checkpoints there, had other settings; names one.
    """
    file = folder / SETTINGS_FILE
    if not file.exists():
        return
    was = _read(file)
    for key in sorted(was.keys() | settings.keys()):
        if was.get(key) != settings.get(key):
            raise KitError(
                f"stage {stage.name}: {str(folder)!r} was trained with {key} {was.get(key)!r}, the recipe has "
                f"{settings.get(key)!r}; remove the directory to train again, or choose another output"
            )


def _read(file: Path) -> Mapping[str, Any]:
    try:
        was = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(was, dict):
            raise ValueError("not a mapping")
    except (OSError, ValueError) as error:
        raise KitError(
            f"{str(file)!r} is damaged and cannot say what was trained; remove {str(file.parent)!r} to begin anew"
        ) from error
    return was


def write_settings(settings: Mapping[str, Any], folder: Path) -> None:
    """Into a stage's directory, or the folder of its checkpoints."""
    write_json(folder / SETTINGS_FILE, settings)
