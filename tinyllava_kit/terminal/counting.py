"""How far a long work is: on a terminal a bar with the time left, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TextIO

from ..distributed import rank

LINE_SECONDS = 30.0  # between two lines, and before the first: short work has none
BAR_SECONDS = 0.1  # between two changes of a bar


@contextmanager
def counting(what: str, total: int, unit: str, *, done: int = 0, out: TextIO | None = None) -> Iterator[Advance]:
    """Shows how a work of `total` units is getting on while the block runs; other processes than the first are silent.

    Args:
        what: is done, as a bar is called: ``encoding``.
        unit: the name of the counted things, in the plural.
        done: how many there were before.
        out: where it is shown; None: standard output.

    Yields:
        A function to call with how many more are done.
    """
    out = out or sys.stdout
    if rank() or total <= done:
        yield lambda more: None
    elif out.isatty():
        with _bar(what, total, unit, done, out) as advance:
            yield advance
    else:
        yield _Lines(what, total, unit, done, out).advance


Advance = Callable[[int], None]


class _Lines:
    """A line each half minute."""

    def __init__(self, what: str, total: int, unit: str, done: int, out: TextIO) -> None:
        self.what, self.total, self.unit, self.out = what, total, unit, out
        self.before = self.done = done
        self.start = self.last = time.monotonic()

    def advance(self, more: int) -> None:
        self.done += more
        now = time.monotonic()
        if now - self.last < LINE_SECONDS or self.done >= self.total:
            return
        self.last = now
        left = (now - self.start) / max(self.done - self.before, 1) * (self.total - self.done)
        ended = f"{self.done:,}/{self.total:,} {self.unit}  {timedelta(seconds=round(left))} left"
        print(f"{self.what} {ended}", file=self.out, flush=True)


@contextmanager
def _bar(what: str, total: int, unit: str, done: int, out: TextIO) -> Iterator[Advance]:
    """A bar that goes when the work is done."""
    from rich.progress import MofNCompleteColumn, TextColumn, TimeRemainingColumn

    columns = [MofNCompleteColumn(), TextColumn(unit, markup=False), TimeRemainingColumn()]
    with bar_of(columns, out, transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done)
        shown = 0.0

        def advance(more: int) -> None:
            nonlocal shown
            bar.advance(task, more)
            if time.monotonic() - shown > BAR_SECONDS:
                bar.refresh()
                shown = time.monotonic()

        yield advance


def bar_of(columns: list[Any], out: TextIO, *, transient: bool = False) -> Any:
    """rich's progress: a name, a bar, and more columns. It starts no thread, so that processes can be forked.

    Args:
        transient: it goes when it ends.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(file=out, markup=False, highlight=False)
    name = TextColumn("{task.description}", markup=False)
    return Progress(name, BarColumn(), *columns, console=console, auto_refresh=False, transient=transient)
