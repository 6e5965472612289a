"""What libraries and Python itself print (warnings, logs, tracebacks), with the text of strangers in it."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from tinyllava_kit.files.printable import printable


@contextmanager
def printable_messages() -> Iterator[None]:
    """Nothing in a warning or a log is a command to the terminal; nor in a traceback, which is shown at the end."""
    before = warnings.formatwarning, logging.getLogRecordFactory()
    sys.excepthook = _show_exception  # stays: it is called when all is left
    warnings.formatwarning = lambda *args, **kwargs: printable(before[0](*args, **kwargs))
    logging.setLogRecordFactory(_Record)
    try:
        yield
    finally:
        warnings.formatwarning = before[0]
        logging.setLogRecordFactory(before[1])


class _Record(logging.LogRecord):
    def getMessage(self) -> str:
        return printable(super().getMessage())


def _show_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(printable("".join(traceback.format_exception(kind, error, trace))))
