"""The hook functions of a plugin's module, and the mistakes that an author makes with them. Light."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from ..errors import PluginError, near
from .hookspecs import HOOKS, PROJECT

_IMPL, _SPEC = f"{PROJECT}_impl", f"{PROJECT}_spec"  # the attributes that pluggy's markers set


def hooks_of(plugin: object) -> list[str]:
    """The hooks that a plugin's module defines, by their names.

    Raises:
        PluginError: a function that is named like a hook and not marked as one, a mark on a function that is named like
            none, or a hook with an argument.
    """
    found = []
    for name, function in _functions(plugin):
        marked = getattr(function, _IMPL, None)
        if marked is not None:
            found.append(_checked(marked.get("specname") or name, function))
        elif close := _meant(name, function):
            raise PluginError(
                f"{name} has no @hookimpl, so that it is never called",
                f"write @hookimpl above {place_of(function)}" + ("" if name == close else f" and call it {close}"),
            )
    return found


def place_of(code: Any) -> str:
    """Where a function or class stands: ``line 7 of FILE``."""
    try:
        return f"line {inspect.getsourcelines(code)[1]} of {inspect.getsourcefile(code)}"
    except (OSError, TypeError):  # made while running, or not written in Python
        return getattr(code, "__qualname__", repr(code))


def _functions(plugin: object) -> Iterator[tuple[str, Any]]:
    for name in dir(plugin):
        function = getattr(plugin, name, None)
        if inspect.isroutine(function):
            yield name, function


def _checked(hook: str, function: Any) -> str:
    if hook not in HOOKS:
        import difflib

        raise PluginError(
            f"unknown hook {hook!r}; {near(hook, difflib.get_close_matches(hook, HOOKS, n=1) or HOOKS)}",
            f"rename it in {place_of(function)}; hooks are called {', '.join(HOOKS)}",
        )
    if arguments := list(inspect.signature(function).parameters):
        raise PluginError(
            f"hook {hook!r} takes {', '.join(arguments)}; hooks take no argument",
            f"write 'def {hook}():' in {place_of(function)}",
        )
    return hook


def _meant(name: str, function: Any) -> str:
    """The hook that a function without a mark was to be; empty where it is another function."""
    if hasattr(function, _SPEC) or not name.startswith(f"{PROJECT.partition('_')[0]}_"):
        return ""
    import difflib

    return next(iter(difflib.get_close_matches(name, HOOKS, n=1, cutoff=0.8)), "")
