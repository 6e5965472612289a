"""One name, one meaning: no two classes or constants of the package and the command line share a name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = [file for folder in ("tinyllava_kit", "cli") for file in sorted((ROOT / folder).rglob("*.py"))]
# To be renamed, or to be one: this list may only become shorter.
SHARED = {
    "IMAGE",  # the modality's spec, and its name where a checkpoint of another project is mapped
    "Part",  # of an assembly, of an external checkpoint, of an answer
    "PartReport",  # of what a part costs, and of how a part was exported
    "Report",  # of an export, of components and of gguf files
    "Row",  # of data, and of a table of weights
    "Show",  # what shows an answer: its text, or its parts
    "Source",  # of data, and of the weights of a part
    "TOLERANCE",  # of parity, and of an export: both 1e-4
}


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
    shared = {name: where for name, where in places.items() if len(where) > 1 and name not in SHARED}
    # `command` is what each module of the command line offers
    assert {name: where for name, where in shared.items() if name != "command"} == {}


def test_definitions_are_found() -> None:
    source = "A = 1\nB: int = 2\nT = TypeVar('T')\n_C = 3\nclass D: ...\nif A:\n    E = 5\ndef f(): G = 1\nH: int\n"
    assert definitions(source) == {"A", "B", "D"}
