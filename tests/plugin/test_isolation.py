"""Calls into a plugin: whatever it raises is one fault, and Ctrl-C is the user's."""

from __future__ import annotations

import contextlib
import signal
import threading

import pytest

from tinyllava_kit.plugin.isolation import PluginFault, describe, isolated


def raising(error: BaseException):
    def call():
        raise error

    return call


def press():
    signal.raise_signal(signal.SIGINT)


def test_what_a_call_returns_is_returned() -> None:
    assert isolated(lambda: 7) == 7


@pytest.mark.parametrize(
    "error",
    [ValueError("why"), SystemExit("why"), KeyboardInterrupt("why"), GeneratorExit("why"), BaseException("why")],
)
def test_anything_raised_is_a_fault_with_its_cause(error: BaseException) -> None:
    with pytest.raises(PluginFault, match=f"^{type(error).__name__}: why$") as caught:
        isolated(raising(error))
    assert caught.value.__cause__ is error


def test_ctrl_c_is_raised_also_where_a_plugin_hides_it() -> None:
    def deaf():
        with contextlib.suppress(BaseException):
            press()

    for call in (press, deaf):
        with pytest.raises(KeyboardInterrupt):
            isolated(call)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_programs_own_is_still_called_and_stays() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    try:
        own = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            isolated(press)
        assert (seen, signal.getsignal(signal.SIGINT)) == ([signal.SIGINT], own)
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_calls_are_isolated_too() -> None:
    found: list[object] = []

    def run():
        try:
            isolated(raising(SystemExit("why")))
        except PluginFault as fault:
            found.append(str(fault))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == ["SystemExit: why"]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("two\nlines  here"), "ValueError: two lines here"),
        (ValueError(), "ValueError"),
        (KeyError("a"), "KeyError: 'a'"),
    ],
)
def test_an_error_is_one_line(error: BaseException, text: str) -> None:
    assert describe(error) == text


def test_an_error_that_cannot_tell_its_text_says_so() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise SystemExit

    assert describe(Mute()) == "Mute: (its text cannot be read)"
