"""Rooms lie in floors: a room imports from those below it, never from one above or beside; no circles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.house.imports import PACKAGE, imported, modules

# From the ground up. Rooms of one floor do not import each other.
FLOORS = (
    ("_lazy", "errors"),
    ("files", "pages"),
    ("distributed", "plugin"),
    ("pretrained", "specs", "terminal"),
    ("core",),
    ("model",),
    ("processing", "interfaces"),
    ("assembly", "data", "features"),
    ("components", "inference"),
    ("checkpoints", "evaluation", "explanation"),
    ("serving", "training"),
    ("testing",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# A component of the kit may import what a stranger's may: the public face, whose light names are of the ground floors.
FACE = {"KitError": "errors", "hookimpl": "plugin", "near": "errors"}


def targets(name: str, file: Path, known: Mapping[str, Path]) -> set[str]:
    """The modules of the package that a file imports; the face's names as the modules that define them."""
    found = set()
    for module, what in imported(file.read_text(encoding="utf-8"), name, is_package=file.name == "__init__.py"):
        if f"{module}.{what}" in known:
            found.add(f"{module}.{what}")
        elif module == PACKAGE:
            found.add(f"{PACKAGE}.{FACE.get(what, what)}")
        elif module in known:
            found.add(module)
    return found


def room_of(module: str) -> str:
    return module.split(".")[1]


@pytest.fixture(scope="module")
def arrows() -> dict[str, set[str]]:
    known = modules()
    return {name: targets(name, file, known) for name, file in known.items() if name != PACKAGE}


def test_every_room_has_a_floor(arrows: dict[str, set[str]]) -> None:
    assert {room_of(name) for name in arrows} == set(FLOOR_OF)


def test_no_room_imports_one_above_or_beside(arrows: dict[str, set[str]]) -> None:
    wrong = [
        f"{name} -> {target}"
        for name, all_targets in arrows.items()
        for target in sorted(all_targets)
        if room_of(name) != room_of(target) and FLOOR_OF.get(room_of(target), 99) >= FLOOR_OF[room_of(name)]
    ]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle(arrows: dict[str, set[str]]) -> None:
    left = dict(arrows)
    while ground := [name for name, all_targets in left.items() if not all_targets & set(left) - {name}]:
        for name in ground:
            del left[name]
    assert sorted(left) == []
