"""A contract: checks of one component, on a toy of it. What the contract of each kind of component extends.

A check is a method whose name begins with ``test_`` and that takes nothing. It raises `CheckFailure`, whose last part
says what to change, or `DoesNotApply`, which says why. pytest is not needed: a contract is an ordinary object.
"""

from __future__ import annotations

import atexit
import functools
import inspect
import shutil
import tempfile
import traceback
import unittest
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from ..plugin.catalog import Catalog
from ..plugin.isolation import describe
from ..plugin.specs import Spec

PREFIX = "test_"
_HERE = str(Path(__file__).parent)

C = TypeVar("C", bound="Contract")


class CheckFailure(AssertionError):
    """A component's fault, and what to change."""


class DoesNotApply(unittest.SkipTest):
    """A check that has nothing to look at in this component, and why. pytest reports it as skipped, with the reason."""


def check(change: str) -> Callable[[Callable[[C], None]], Callable[[C], None]]:
    """Mark a method as a check; `change` says what an author changes where it fails."""

    def mark(method: Callable[[C], None]) -> Callable[[C], None]:
        @functools.wraps(method)
        def run(self: C) -> None:
            try:
                method(self)
            except (DoesNotApply, CheckFailure):
                raise
            except Exception as error:
                raise CheckFailure(f"{self.owner}: {_what(error)}\nchange: {change}") from error

        return run

    return mark


def _what(error: Exception) -> str:
    """What an assertion says; of another error also where it was raised, outside the contracts."""
    if isinstance(error, AssertionError) and str(error):
        return str(error).split("\nassert ")[0]  # pytest adds its own reading of what was asserted
    stack = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_HERE)]
    place = f", line {stack[-1].lineno} of {stack[-1].filename}" if stack else ""
    return f"raised {describe(error)}{place}"


class Contract:
    """What holds for a component of one kind.

    The component is that of `spec` where a contract is made for what is installed, or `component` where an author's own
    test names it.
    """

    kind: ClassVar[str]

    component: ClassVar[Any] = None
    spec: ClassVar[Spec | None] = None
    catalog: ClassVar[Catalog | None] = None
    # Keyword arguments of the component, its options. Those that are not given have the defaults of the spec.
    options: ClassVar[Mapping[str, Any]] = {}
    # name of an option -> another value of it, where the check of options finds none or none that shows.
    other_options: ClassVar[Mapping[str, Any]] = {}
    # name of an option -> why nothing of a toy shows it.
    unseen_options: ClassVar[Mapping[str, str]] = {}
    # name of a check -> why it fails. One that passes all the same is an error.
    expected_failures: ClassVar[Mapping[str, str]] = {}

    def toy_checkpoint(self, folder: Path) -> str:
        """Write a checkpoint of toy size to `folder` and return what names it. Default: none, an empty text."""
        return ""

    @property
    def owner(self) -> str:
        """How messages name the component."""
        return f"{self.kind} {self.spec.name!r}" if self.spec else getattr(self.component, "__name__", self.kind)

    @property
    def checkpoint(self) -> str:
        """The toy checkpoint, made once for each contract."""
        contract = type(self)
        if contract not in _CHECKPOINTS:
            _CHECKPOINTS[contract] = self.toy_checkpoint(_new_folder())
        return _CHECKPOINTS[contract]

    @property
    def folder(self) -> Path:
        """An empty folder for what a check writes, another each time."""
        return _new_folder()

    @property
    def given_options(self) -> dict[str, Any]:
        """Every option with its value."""
        defaults = {option.name: option.default for option in self.spec.options} if self.spec else {}
        named = self.spec.name_options(self.spec.name) if self.spec else {}
        return {**defaults, **named, **self.options}


def checks_of(contract: type[Contract]) -> Iterator[str]:
    """The names of a contract's checks, in the order in which they are written, those of its bases first."""
    names: dict[str, None] = {}
    for base in reversed(contract.__mro__):
        names.update(dict.fromkeys(name for name in vars(base) if name.startswith(PREFIX)))
    for name in names:
        if callable(getattr(contract, name)):
            yield name.removeprefix(PREFIX)


_CHECKPOINTS: dict[type[Contract], str] = {}


def _new_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="toy-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def keywords_of(function: Callable[..., Any], *, given: int) -> tuple[set[str], bool]:
    """The keyword arguments of a function behind its first `given`, and whether it takes any others.

    Of a class those of its constructor.
    """
    parameters = list(inspect.signature(function).parameters.values())[given:]
    named = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)
