"""The settings that a stage's outcome depends on: kept with it, and compared before anything is taken for done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...errors import KitError
from ...files.failures import read_mapping
from ...files.origins import origin, sealed
from ...files.writing import file_digest, write_json
from ..recipe import Stage

STAGE_FILE = "stage.json"
_WEIGHTS = "weights"  # of the model that the stage left: file -> SHA-256
# What does not change the model that comes out.
_HOUSEKEEPING = {"logging_steps", "save_steps", "workers", "cache_features"}
# Keys of a recipe that name a file or a folder.
_PLACES = ("model", "teacher", "path", "dataset", "root", "dir")


def settings_of(stage: Stage, source: Path, seed: int) -> dict[str, Any]:
    """What the outcome of a stage depends on, as JSON."""
    return {"model": str(source), "seed": seed, **stage.model_dump(mode="json", exclude=_HOUSEKEEPING)}


def check_complete(settings: Mapping[str, Any], stage: Stage, folder: Path) -> None:
    """Check what a stage left, or should have.

    Raises:
        KitError: as `check_same`; or the model in `folder` is not the one that the stage left.
    """
    check_same(settings, stage, folder)
    file = folder / STAGE_FILE
    left = _read(file).get(_WEIGHTS) if file.exists() else {}
    if left is not None and left != weights_of(folder):  # earlier versions wrote none down
        raise KitError(
            f"stage {stage.name}: {str(folder)!r} holds a model that this stage did not train; remove the directory to "
            "train it, or choose another output"
        )


def recorded(settings: Mapping[str, Any], name: Callable[[str], str] = origin) -> dict[str, Any]:
    """Settings, or a part of a recipe, with `name` of each path in them: as one may give them away."""
    return {key: _recorded(key, value, name) for key, value in settings.items()}


def _recorded(key: str, value: Any, name: Callable[[str], str]) -> Any:
    if isinstance(value, str) and key in _PLACES:
        return name(value)
    if isinstance(value, Mapping):
        return recorded(value, name)
    return [_recorded(key, each, name) for each in value] if isinstance(value, list) else value


def check_same(settings: Mapping[str, Any], stage: Stage, folder: Path) -> None:
    """Check that a stage has the settings that it was trained with.

    Raises:
        KitError: the stage that is complete in `folder`, or has checkpoints there, had other settings; names one.
    """
    file = folder / STAGE_FILE
    if not file.exists():
        return
    was, settings = (recorded(each, sealed) for each in ({**_defaults(), **_read(file)}, settings))
    for key in sorted((was.keys() | settings.keys()) - {_WEIGHTS}):
        if was.get(key) != settings.get(key):
            raise KitError(
                f"stage {stage.name}: {str(folder)!r} was trained with {key} {was.get(key)!r}, the recipe has "
                f"{settings.get(key)!r}; remove the directory to train again, or choose another output"
            )


def _defaults() -> dict[str, Any]:
    """Of the keys that a stage may leave out: what an earlier version, which did not know a key, did."""
    stage = Stage.model_construct(name="", data=(), train={})
    return stage.model_dump(mode="json", exclude={*_HOUSEKEEPING, "name", "data", "train"})


def _read(file: Path) -> Mapping[str, Any]:
    try:
        return read_mapping(file)
    except KitError as error:
        raise KitError(f"{str(file)!r} is damaged; remove {str(file.parent)!r} to start again") from error


def write_settings(settings: Mapping[str, Any], folder: Path) -> None:
    """Into the folder of a stage's checkpoints."""
    write_json(folder / STAGE_FILE, recorded(settings, sealed))


def write_left(settings: Mapping[str, Any], folder: Path) -> None:
    """Into a stage's directory, with its weights in it: what `check_complete` reads."""
    write_settings({**settings, _WEIGHTS: weights_of(folder)}, folder)


def weights_of(folder: Path) -> dict[str, str]:
    """The files of a model's weights -> SHA-256 of each."""
    return {file.name: file_digest(file) for file in sorted(folder.glob("*.safetensors"))}
