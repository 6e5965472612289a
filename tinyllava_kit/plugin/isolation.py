"""Calls into a plugin, whatever it raises."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class PluginFault(Exception):
    """What a plugin raised, which is the cause; its text is one line."""


def isolated(call: Callable[[], T]) -> T:
    """What `call` returns.

    Raises:
        PluginFault: it raised anything, `SystemExit` and `KeyboardInterrupt` of its own included.
        KeyboardInterrupt: the user pressed Ctrl-C.
    """
    with _watched_interrupts() as pressed:
        try:
            result = call()
        except BaseException as error:
            if not pressed:
                raise PluginFault(describe(error)) from error
    if pressed:  # also where the plugin let nobody know
        raise KeyboardInterrupt
    return result


def describe(error: BaseException) -> str:
    """An error in one line, also where it cannot tell its text."""
    name = type.__dict__["__name__"].__get__(type(error))  # a metaclass may answer for `type(error).__name__`
    try:
        text = " ".join(str.split(str(error)))
    except BaseException:
        text = "(its text cannot be read)"
    return f"{name}: {text}".removesuffix(": ")


@contextmanager
def _watched_interrupts() -> Iterator[list[int]]:
    """A list that holds something once the user has pressed Ctrl-C; the handler that was set before still runs."""
    pressed: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield pressed  # nothing of Ctrl-C is raised here
        return

    def note(number: int, stack: Any) -> Any:
        pressed.append(number)
        return before(number, stack)

    signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
