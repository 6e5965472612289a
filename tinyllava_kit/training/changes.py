"""What a command line changes in a recipe: ``STAGE.KEY=VALUE``. Light."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import KitError, near, shown
from ..files.yaml_files import read_value

_HEADS = ("tower", "connector", "decoder")  # of the names of parts, which have a dot


def with_changes(recipe: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A recipe as its file has it, with keys set; the values are YAML.

    Example:
        >>> recipe = {"seed": 0, "stages": [{"name": "align", "train": {"llm": "lora"}}]}
        >>> with_changes(recipe, ["align.batch_size=4", "align.train.connector.image=full", "seed=1"])["stages"]
        [{'name': 'align', 'train': {'llm': 'lora', 'connector.image': 'full'}, 'batch_size': 4}]

    Raises:
        KitError: a change without a value, of a stage that is not there, or inside of something that has no keys.
    """
    changed = copy.deepcopy(dict(recipe))
    for change in changes:
        path, equals, value = change.partition("=")
        first, *keys = path.strip().split(".")
        if not equals or not all((first, *keys)):
            raise KitError(f"--set {shown(change)}: expected STAGE.KEY=VALUE, or KEY=VALUE of the recipe")
        place = _stage(changed, first, change) if keys else changed
        steps = list(_steps(keys or [first]))
        for step in steps[:-1]:
            place = _inside(place, step, change)
        place[_key(place, steps[-1], change)] = read_value(value, f"--set {path}")
    return changed


def _stage(recipe: Mapping[str, Any], name: str, change: str) -> Any:
    stages = recipe.get("stages")
    found = [stage for stage in stages if isinstance(stage, dict)] if isinstance(stages, list) else []
    named = {str(stage.get("name")): stage for stage in found}
    if name not in named:
        raise KitError(f"--set {shown(change)}: the recipe has no stage {shown(name)}; {near(name, named)}")
    return named[name]


def _steps(keys: Sequence[str]) -> Iterator[str]:
    """The keys, with the names of parts in one piece: ``connector.image``."""
    rest = iter(keys)
    for key in rest:
        part = next(rest, None) if key in _HEADS else None
        yield key if part is None else f"{key}.{part}"


def _inside(place: Any, step: str, change: str) -> Any:
    """The value at a key, to set something in it; where there is none, a new mapping."""
    key = _key(place, step, change)
    if isinstance(place, dict) and place.get(key) is None:
        place[key] = {}
    if not isinstance(place[key], (dict, list)):
        raise KitError(f"--set {shown(change)}: {step} is {shown(place[key])}, which has no keys; set it whole")
    return place[key]


def _key(place: Any, step: str, change: str) -> Any:
    """A step as the key or the index that it is."""
    if isinstance(place, dict):
        return step
    if not step.isdecimal() or int(step) >= len(place):
        raise KitError(f"--set {shown(change)}: there are {len(place)} entries, counted from 0; got {shown(step)}")
    return int(step)
