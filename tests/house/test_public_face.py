"""What plugins, examples and pages import is the public face, and every name of it is there."""

from __future__ import annotations

import ast
import re
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from tests.house.imports import PACKAGE, ROOT, imported

FACE = (
    "",
    ".specs",
    ".interfaces",
    ".components",
    ".checkpoints",
    ".pretrained",
    ".files",
    ".evaluation",
    ".training",
    ".serving",
    ".pages",
    ".testing",
)
LAZY = ("", ".components", ".checkpoints", ".files", ".evaluation", ".training", ".serving")


def sources(file: Path) -> list[str]:
    """A Python file, or the imports that a page shows."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        return [text]
    shown = re.findall(rf"^[ >]*(from {PACKAGE}[\w.]* import (?:\([^)]*\)|[^\n]*)|import {PACKAGE}[\w.]*)", text, re.M)
    return [line for line in shown if _parses(line)]


def _parses(line: str) -> bool:
    try:
        ast.parse(line)
    except SyntaxError:
        return False
    return True


def shown() -> list[Path]:
    """The files of plugins, examples and pages that git knows."""
    where = ["plugins", "tests/plugins/*/*", "examples", "docs", "*.md"]
    listed = subprocess.run(["git", "ls-files", *where], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\n") if name.endswith((".py", ".md")) and name != "CHANGELOG.md"]


def test_plugins_examples_and_pages_import_the_public_face_alone() -> None:
    allowed = {f"{PACKAGE}{room}" for room in FACE}
    deeper = [
        f"{file.relative_to(ROOT)}: from {module} import {name}"
        for file in shown()
        for source in sources(file)
        for module, name in imported(source)
        if module.split(".")[0] == PACKAGE and module not in allowed
    ]
    assert deeper == []


@pytest.mark.parametrize("room", FACE)
def test_every_public_name_is_there(room: str) -> None:
    module = import_module(f"{PACKAGE}{room}")
    names = [name for name in dir(module) if not name.startswith("_")]
    assert all(getattr(module, name) is not None for name in names)


@pytest.mark.parametrize("room", LAZY)
def test_type_checkers_see_the_names_that_are_lazy(room: str) -> None:
    module = import_module(f"{PACKAGE}{room}")
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))  # type: ignore[arg-type]
    seen = {
        alias.asname
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {name for name in dir(module) if not name.startswith("_")} - {"KitError", "hookimpl", "near"}


@pytest.mark.parametrize("room", FACE)
def test_no_public_name_is_that_of_a_module_beside_it(room: str) -> None:
    module = import_module(f"{PACKAGE}{room}")
    place = Path(module.__file__)  # type: ignore[arg-type]
    beside = {each.stem for each in place.parent.iterdir()} if place.name == "__init__.py" else set()
    names = {name for name in dir(module) if isinstance(getattr(module, name), type(lambda: None))}
    assert names & beside == set()
