"""Packages that only some of the kit needs, asked for before it works. Light."""

from __future__ import annotations

import importlib
import re
from importlib import metadata
from importlib.util import find_spec
from types import ModuleType

from ..errors import KitError

CORE = "tinyllava-kit"


def need(module: str, what: str) -> None:
    """Ask for a module that `what` needs; it is not imported.

    Raises:
        KitError: it is not installed; names the line that installs it.
    """
    if find_spec(module) is None:
        raise KitError(f"{what} needs {module}; {install_line(module)}")


def imported(module: str, what: str) -> ModuleType:
    """A module that `what` needs.

    Raises:
        KitError: it is not installed, or cannot be imported; names the line that installs it.
    """
    need(module.partition(".")[0], what)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        line = install_line(module.partition(".")[0])
        raise KitError(f"{what} needs {module}, which cannot be imported: {error}; {line}") from error


def install_line(module: str) -> str:
    """How a module comes: with the smallest extra of the kit that brings the package of its name, else alone."""
    try:
        requires = metadata.requires(CORE) or []
    except metadata.PackageNotFoundError:
        requires = []
    brought: dict[str, list[str]] = {}
    for requirement in requires:
        if extra := re.search(r"\bextra == ['\"]([^'\"]+)['\"]", requirement):
            brought.setdefault(extra[1], []).append(re.split(r"[^\w.-]", requirement)[0])
    package = module.replace("_", "-")
    extras = [extra for extra, packages in brought.items() if package in packages]
    if not extras:
        return f"pip install {package}"
    return f"pip install '{CORE}[{min(extras, key=lambda extra: len(brought[extra]))}]'"
