"""Long work that is counted: lines in a file, a bar on a terminal."""

from __future__ import annotations

import io
import re
import types

from tinyllava_kit.terminal import counting


class Terminal(io.StringIO):
    def isatty(self):
        return True


def without_codes(said):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said)


def test_long_work_is_counted_in_lines_and_short_work_is_silent(monkeypatch):
    out, now = io.StringIO(), [0.0]
    monkeypatch.setattr(counting, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    with counting.counting("encoding", 100, "items", done=10, out=out) as advance:
        for _ in range(9):
            now[0] += 20
            advance(10)
    assert out.getvalue().splitlines() == [
        "encoding 30/100 items  0:02:20 left",
        "encoding 50/100 items  0:01:40 left",
        "encoding 70/100 items  0:01:00 left",
        "encoding 90/100 items  0:00:20 left",
    ]
    with counting.counting("encoding", 10, "items", done=10, out=out) as advance:
        advance(0)
    assert len(out.getvalue().splitlines()) == 4


def test_a_terminal_has_a_bar_that_goes_when_the_work_is_done(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with counting.counting("encoding [b]", 3, "items", out=out) as advance:
        for _ in range(3):
            advance(1)
    assert "encoding [b]" in out.getvalue()
    assert "3/3 items" in without_codes(out.getvalue())
    assert out.getvalue().endswith("\x1b[2K")  # the line is empty again
