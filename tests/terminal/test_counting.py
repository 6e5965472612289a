"""How far a long work is: a bar on a terminal, lines now and then elsewhere, nothing for short work and other ranks."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from tinyllava_kit.terminal import counting as module
from tinyllava_kit.terminal.counting import counting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds, which pass as the test says."""
    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))  # not that of other threads
    return now


def test_a_line_each_half_minute_says_how_long_it_still_takes(clock):
    out = io.StringIO()
    with counting("encoding", 2000, "items", out=out) as advance:
        for seconds, more in ((10, 100), (30, 200), (40, 100), (61, 600)):
            clock[0] = seconds
            advance(more)
    assert out.getvalue() == (
        "encoding 300/2,000 items  0:02:50 left\n"  # 30 s for 300: 170 s for 1700
        "encoding 1,000/2,000 items  0:01:01 left\n"
    )


def test_what_was_done_before_does_not_make_it_look_faster(clock):
    out = io.StringIO()
    with counting("encoding", 1000, "items", done=900, out=out) as advance:
        clock[0] = 50
        advance(50)
    assert out.getvalue() == "encoding 950/1,000 items  0:00:50 left\n"


def test_short_work_and_the_end_have_no_line(clock):
    out = io.StringIO()
    with counting("encoding", 2, "items", out=out) as advance:
        clock[0] = 29
        advance(1)
        clock[0] = 60
        advance(1)
    assert out.getvalue() == ""


def test_a_bar_goes_when_the_work_is_done(clock):
    out = Terminal()
    with counting("encoding [b]", 10, "items", out=out) as advance:
        clock[0] = 1
        advance(4)
        assert "encoding [b]" in out.getvalue()
        assert "4/10" in out.getvalue()
        advance(1)  # not shown so soon again
        assert "5/10" not in out.getvalue()
    assert out.getvalue().endswith("\x1b[2K")


@pytest.mark.parametrize(("rank", "total", "done"), [(1, 10, 0), (0, 0, 0), (0, 5, 5)])
def test_other_processes_and_work_that_is_done_are_silent(monkeypatch, clock, rank, total, done):
    monkeypatch.setattr(module, "rank", lambda: rank)
    out = Terminal()
    with counting("encoding", total, "items", done=done, out=out) as advance:
        clock[0] = 100
        advance(1)
    assert out.getvalue() == ""


def test_what_the_work_raises_ends_the_bar_too(clock):
    out = Terminal()
    with pytest.raises(ZeroDivisionError), counting("encoding", 10, "items", out=out):
        _ = 1 / 0
    assert "\x1b[?25h" in out.getvalue()  # the cursor is shown again
