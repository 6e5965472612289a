"""One name, one meaning: no two classes or constants of the package and the command line share a name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = [file for folder in ("tinyllava_kit", "cli") for file in sorted((ROOT / folder).rglob("*.py"))]


def definitions(source: str) -> set[str]:
    """The names of public classes and constants at the level of a module. Type variables are no constants."""
    found = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if not ast.unparse(node.value).startswith("TypeVar("):
                found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in found if not name.startswith("_")}


def test_a_name_has_one_meaning() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for file in FILES:
        for name in definitions(file.read_text(encoding="utf-8")):
            places[name].append(str(file.relative_to(ROOT)))
    assert len(places) > 400
    shared = {name: where for name, where in places.items() if len(where) > 1}
    # `command` is what each module of the command line offers
    assert {name: where for name, where in shared.items() if name != "command"} == {}


def test_definitions_are_found() -> None:
    source = "A = 1\nB: int = 2\nT = TypeVar('T')\n_C = 3\nclass D: ...\nif A:\n    E = 5\ndef f(): G = 1\nH: int\n"
    assert definitions(source) == {"A", "B", "D"}
