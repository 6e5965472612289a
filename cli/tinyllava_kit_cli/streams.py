"""Standard streams that may be closed, full, without a reader, or not of UTF-8."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

READER_GONE = 141  # as a shell reports SIGPIPE: `tinyllava list | head -1`
NOT_WRITTEN = 2


class OutputLost(SystemExit):
    """Standard output takes no more. Its line has been said; whoever handles errors shall let it pass."""


@contextmanager
def standard_streams() -> Iterator[None]:
    """Whoever prints within, an encoding that has no such letter gets its escape, and what cannot be written ends us.

    A missing standard input is an empty one. What standard error does not take is dropped: there is nobody to tell.

    Raises:
        OutputLost: standard output is closed or full, or its reader has gone.
    """
    before = sys.stdin, sys.stdout, sys.stderr
    _take_closed_numbers()
    sys.stdin = sys.stdin or io.StringIO()
    sys.stderr = _careful(sys.stderr, _Dropping) if sys.stderr else _text(io.FileIO(os.devnull, "w"))
    try:
        if sys.stdout is None:
            _end("it is closed; let it go somewhere, if only to /dev/null")
        sys.stdout = _careful(sys.stdout, _Ending)
        try:
            yield
        finally:
            sys.stdout.flush()
    finally:
        sys.stderr.flush()
        sys.stdin, sys.stdout, sys.stderr = before


def _take_closed_numbers() -> None:
    """Else the next file that is opened gets the number of a closed stream, and holds what libraries print to it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the lowest free number, so this one
            os.open(os.devnull, os.O_RDWR)


def _careful(stream: TextIO, kind: type[_Dropping]) -> TextIO:
    """The same stream by way of `kind`; unchanged where it is a stand-in without a file."""
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if not isinstance(raw, io.RawIOBase):
        return stream
    stream.flush()
    lines = getattr(stream, "line_buffering", False) or getattr(stream, "write_through", False)
    return _text(kind(raw), stream.encoding, line_buffering=lines)


def _text(raw: io.RawIOBase, encoding: str = "utf-8", *, line_buffering: bool = True) -> TextIO:
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=line_buffering)


class _Dropping(io.RawIOBase):
    """A file to write to; from its first failure on, one that takes everything and keeps nothing."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self._lost = False

    def write(self, data: Any) -> int | None:
        if self._lost:
            return len(data)
        try:
            return self._raw.write(data)
        except OSError as error:
            self._lost = True
            self.lose(error)
            return len(data)

    def lose(self, error: OSError) -> None:
        """Called at the first failure."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()


class _Ending(_Dropping):
    """One whose failure is the program's."""

    def lose(self, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):
            raise OutputLost(READER_GONE) from error
        _end(f"{error.strerror}; make room, or let it go elsewhere")


def _end(why: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(f"error: cannot write to standard output: {why}\n")
    raise OutputLost(NOT_WRITTEN)
