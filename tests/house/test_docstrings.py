"""What has a docstring, and how it begins: with a sentence, of which documentation shows the first."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("tinyllava_kit", "cli", "plugins")
FILES = [
    file
    for folder in FOLDERS
    for file in sorted((ROOT / folder).rglob("*.py"))
    if not {"tests", "build", ".venv"} & {*file.relative_to(ROOT).parts}
]
SECTION = re.compile(r"(Args|Raises|Returns|Yields|Attributes|Examples?|Notes?):")
Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def documented(body: list[ast.stmt], owner: str = "") -> Iterator[tuple[str, Documented]]:
    """Every function and class of a module and of its classes, by its qualified name."""
    for node in body:
        if isinstance(node, Documented):
            yield owner + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from documented(node.body, f"{owner}{node.name}.")


def fault(name: str, node: Documented) -> str:
    """What is wrong with a docstring; empty where nothing is. Methods and private names may have none."""
    text = ast.get_docstring(node)
    if text is None:
        return "no docstring" if "." not in name and not name.startswith("_") else ""
    first = text.split("\n\n")[0]
    if SECTION.match(first):
        return f"begins with {first.splitlines()[0]!r}, needs a sentence before it"
    return "" if re.search(r"[.?!:]$", first) else f"the first paragraph is no sentence: {first!r}"


def faults(source: str) -> list[str]:
    found = ((name, node, fault(name, node)) for name, node in documented(ast.parse(source).body))
    return [f"{node.lineno}: {name}: {wrong}" for name, node, wrong in found if wrong]


def test_docstrings_begin_with_a_sentence() -> None:
    assert len(FILES) > 250
    wrong = {str(file.relative_to(ROOT)): faults(file.read_text(encoding="utf-8")) for file in FILES}
    assert {file: found for file, found in wrong.items() if found} == {}


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("def f(): pass", "no docstring"),
        ("class C: pass", "no docstring"),
        ('def f():\n    """\n    Raises:\n        KitError: never.\n    """', "needs a sentence"),
        ('class C:\n    """It is."""\n    def f(self):\n        """Args: none."""', "C.f: begins with 'Args: none.'"),
        ('def f():\n    """The sum\n\n    It is large.\n    """', "is no sentence: 'The sum'"),
    ],
)
def test_faults_are_found(source: str, wrong: str) -> None:
    (found,) = faults(source)
    assert wrong in found


def test_what_needs_none() -> None:
    assert faults('def _f(): pass\nclass C:\n    """One\n    of two lines."""\n    def f(self): pass\n') == []
