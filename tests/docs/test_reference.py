"""The pages of the reference show every public name, and what docstrings say of parameters is of parameters."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.house.imports import PACKAGE, ROOT
from tests.house.test_public_face import FACE
from tinyllava_kit.plugin import hookspecs
from tinyllava_kit.plugin.specs import KINDS

REFERENCE = ROOT / "docs" / "api"
every_room = pytest.mark.parametrize("room", [f"{PACKAGE}{room}" for room in FACE])


def public_names(room: str) -> set[str]:
    """What a room imports as itself; where it imports nothing, its modules."""
    file = Path(import_module(room).__file__)  # type: ignore[arg-type]
    nodes = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)]
    names = {alias.name for node in nodes for alias in node.names if alias.name == alias.asname}
    return names or {each.stem for each in file.parent.glob("[!_]*.py")}


@every_room
def test_the_page_of_a_room_shows_its_public_names_and_no_others(room: str) -> None:
    page = REFERENCE / f"{room.removeprefix(f'{PACKAGE}.')}.md"
    shown = re.findall(rf"^::: {re.escape(room)}\.(\w+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(shown) == sorted(public_names(room))


def test_every_page_is_in_the_navigation() -> None:
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert {f"docs/api/{page.name}" for page in REFERENCE.iterdir()} == set(re.findall(r"docs/api/\w+\.md", settings))


@every_room
def test_the_arguments_that_docstrings_describe_are_parameters(room: str) -> None:
    wrong = []
    for name in sorted(public_names(room)):
        for owner, described, taken in documented(name, getattr(import_module(room), name, None)):
            wrong += [f"{owner}: {each}" for each in described if each not in taken]
    assert wrong == []


def documented(name: str, thing: Any) -> Iterator[tuple[str, list[str], set[str]]]:
    """(name, arguments that its docstring describes, parameters) of a function; of a class, of its methods, too."""
    if inspect.isclass(thing) and thing.__module__.startswith(PACKAGE):
        yield name, described(thing), parameters(thing.__init__)
        for key, value in vars(thing).items():
            yield from documented(f"{name}.{key}", value)
    function = thing.__func__ if isinstance(thing, (classmethod, staticmethod)) else thing
    if inspect.isfunction(function):
        yield name, described(function), parameters(function)


def described(thing: Any) -> list[str]:
    """The names in the section of arguments; a line may describe several."""
    text = inspect.cleandoc(thing.__doc__ or "")
    section = re.search(r"^Args:\n((?: +.*\n|\n)+)", text + "\n", flags=re.MULTILINE)
    heads = re.findall(r"^ {4}([\w*]+(?:, [\w*]+)*): ", section[1], flags=re.MULTILINE) if section else []
    return [name.lstrip("*") for head in heads for name in head.split(", ")]


def parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


@every_room
def test_what_the_reference_shows_has_types_and_the_errors_that_it_raises(room: str) -> None:
    wrong = []
    for name in sorted(public_names(room)):
        for owner, function, text in members(name, getattr(import_module(room), name, None)):
            wrong += [f"{owner}: {each}" for each in lacks(function, text)]
    assert wrong == []


def members(name: str, thing: Any) -> Iterator[tuple[str, Any, str]]:
    """(name, function, its docstring) of a function; of a class, of every method that is called from outside."""
    if inspect.isclass(thing) and thing.__module__.startswith(PACKAGE):
        for key, value in {
            key: value for base in reversed(own_bases(thing)) for key, value in vars(base).items()
        }.items():
            function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            if inspect.isfunction(function) and (not key.startswith("_") or key == "__init__"):
                text = inspect.getdoc(thing if key == "__init__" else getattr(thing, key))
                yield f"{name}.{key}", inspect.unwrap(function), f"{text}\n{inspect.getdoc(function)}"
    elif inspect.isfunction(thing):
        yield name, inspect.unwrap(thing), inspect.getdoc(thing) or ""


def own_bases(thing: type) -> list[type]:
    """The class and the bases that are of the package."""
    return [base for base in thing.__mro__ if base.__module__.startswith(PACKAGE)]


def lacks(function: Any, text: str) -> Iterator[str]:
    """What the reference cannot say of a function: the type of an argument or result, a docstring, an error."""
    if not function.__module__.startswith(PACKAGE):
        return
    signature = inspect.signature(function)
    yield from (f"{each.name} has no type" for each in signature.parameters.values() if _bare(each))
    if signature.return_annotation is inspect.Signature.empty:
        yield "its result has no type"
    if not text.replace("None", "").strip():
        yield "no docstring"
    source = "" if function.__code__.co_filename.startswith("<") else inspect.getsource(function)
    if re.search(r"^ +raise KitError", source, flags=re.MULTILINE) and "Raises:" not in text:
        yield "raises KitError, and does not say when"


def _bare(parameter: inspect.Parameter) -> bool:
    return parameter.annotation is inspect.Parameter.empty and parameter.name not in ("self", "cls", "value", "_cls")


def test_every_hook_is_in_the_reference_with_what_it_returns() -> None:
    page = (REFERENCE / "hooks.md").read_text(encoding="utf-8")
    shown = re.findall(rf"^::: {re.escape(hookspecs.__name__)}\.(\w+)$", page, flags=re.MULTILINE)
    assert shown == list(hookspecs.HOOKS)
    for hook, kind in hookspecs.HOOKS.items():
        returns = inspect.signature(getattr(hookspecs, hook)).return_annotation
        assert returns == f"Iterable[{KINDS[kind].__name__}]", hook
        told = inspect.getdoc(getattr(hookspecs, hook)) or ""
        assert re.search(r"^Used ", told, flags=re.MULTILINE), hook
        assert "\nReturns:\n    Specs whose targets " in told, hook


@pytest.mark.parametrize("name", sorted(public_names(f"{PACKAGE}.specs")))
def test_every_field_of_a_spec_has_a_type_and_a_sentence(name: str) -> None:
    thing = getattr(import_module(f"{PACKAGE}.specs"), name)
    if not is_dataclass(thing):
        return
    sentences = {}
    for base in reversed(own_bases(thing)):
        sentences |= sentences_of(base)
    for field in fields(thing):
        assert field.type, field.name
        assert sentences[field.name].endswith("."), field.name


def sentences_of(thing: type) -> dict[str, str]:
    """Each field that a class declares, and the text that stands below it."""
    (body,) = [node.body for node in ast.parse(inspect.getsource(thing)).body if isinstance(node, ast.ClassDef)]
    return {
        declared.target.id: below.value.value
        for declared, below in itertools.pairwise(body)
        if isinstance(declared, ast.AnnAssign) and isinstance(declared.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }
