"""The hook functions of a plugin's module, and the mistakes that an author makes with them. Light."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import PluginError, near
from .hookspecs import HOOKS, PROJECT, arguments_of

_IMPL, _SPEC = f"{PROJECT}_impl", f"{PROJECT}_spec"  # the attributes that pluggy's markers set


def hooks_of(plugin: object) -> dict[str, Any]:
    """The hooks that a plugin's module defines, by their names.

    Raises:
        PluginError: a function named like a hook without the mark, a mark on a function that is named like none, a
            hook with an argument, or one that is no plain function.
    """
    found = {}
    for name, value in _members(plugin):
        marked = getattr(value, _IMPL, None)
        if isinstance(marked, dict):
            found[_checked(marked.get("specname") or name, value, marked)] = value
        elif close := _meant(name, value):
            raise PluginError(*_unmarked(name, close, value))
    return found


def _unmarked(name: str, hook: str, value: Any) -> tuple[str, str]:
    """The fault of a member that was meant as a hook, and what to write."""
    called = "" if name == hook else f" and call it {hook}"
    if not inspect.isroutine(value):
        detail = f"{name} is {type(value).__name__}, not a function, so that it is never called"
        return detail, f"write '@hookimpl' and 'def {hook}():', which returns it, in the plugin's module"
    return f"{name} has no @hookimpl, so that it is never called", f"write @hookimpl above {place_of(value)}{called}"


def place_of(code: Any) -> str:
    """Where a function or class is defined: ``line 7 of FILE``."""
    try:
        return f"line {inspect.getsourcelines(code)[1]} of {inspect.getsourcefile(code)}"
    except (OSError, TypeError):  # made while running, or not written in Python
        return getattr(code, "__qualname__", repr(code))


def _members(plugin: object) -> Iterator[tuple[str, Any]]:
    for name in dir(plugin):
        value = getattr(plugin, name, None)
        if inspect.isroutine(value) or name in HOOKS:
            yield name, value


def _checked(hook: str, function: Any, marked: Mapping[str, Any]) -> str:
    if hook not in HOOKS:
        import difflib

        raise PluginError(
            f"unknown hook {hook!r}; {near(hook, difflib.get_close_matches(hook, HOOKS, n=1) or HOOKS)}",
            f"rename it in {place_of(function)}; hooks are called {', '.join(HOOKS)}",
        )
    if wrong := _taken(hook, function) or _not_plain(hook, function, marked):
        raise PluginError(wrong, f"write 'def {hook}():' in {place_of(function)}")
    return hook


def _taken(hook: str, function: Any) -> str:
    """The fault of its arguments."""
    taken = inspect.signature(function).parameters
    known = arguments_of(hook) if taken else ()
    if not (unknown := [name for name in taken if name not in known]):
        return ""
    may = f"it may take {', '.join(known)}" if known else "hooks take no argument"
    return f"hook {hook!r} takes {', '.join(unknown)}; {may}"


def _not_plain(hook: str, function: Any, marked: Mapping[str, Any]) -> str:
    if inspect.iscoroutinefunction(function) or marked.get("wrapper") or marked.get("hookwrapper"):
        return f"hook {hook!r} is async or a wrapper; hooks are plain functions that return specs"
    return ""


def _meant(name: str, function: Any) -> str:
    """The hook that a function without a mark was to be; empty where it is another function."""
    if hasattr(function, _SPEC) or not name.startswith(f"{PROJECT.partition('_')[0]}_"):
        return ""
    import difflib

    return next(iter(difflib.get_close_matches(name, HOOKS, n=1, cutoff=0.8)), "")
