"""What libraries and Python itself print (warnings, logs, tracebacks), with the text of strangers in it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from tinyllava_kit.files.printable import printable
from tinyllava_kit.model.when_imported import when_imported


@contextmanager
def printable_messages() -> Iterator[None]:
    """Nothing in a warning or a log is a command to the terminal; nor in a traceback, which is shown at the end."""
    before = warnings.formatwarning
    sys.excepthook = _show_exception  # stays: it is called when all is left
    warnings.formatwarning = lambda *args, **kwargs: printable(before(*args, **kwargs))
    when_imported("logging", _make_logs_printable)  # stays as well: `list` and help need no logs
    when_imported("transformers", _take_bars_off)  # and so does this
    try:
        yield
    finally:
        warnings.formatwarning = before


def _make_logs_printable() -> None:
    import logging

    class Record(logging.LogRecord):
        def getMessage(self) -> str:
            return printable(super().getMessage())

    logging.setLogRecordFactory(Record)
    # peft imports bitsandbytes, which recommends a package for 4-bit weights to everybody
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def _take_bars_off() -> None:
    """transformers shows a bar for each model that it reads or writes; those of downloads stay on a terminal."""
    from huggingface_hub import utils as hub
    from transformers.utils.logging import disable_progress_bar

    off_before = hub.are_progress_bars_disabled()  # type: ignore[attr-defined]  # its documentation has both
    disable_progress_bar()
    if not off_before:
        hub.enable_progress_bars()  # type: ignore[attr-defined]


def _show_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    import traceback

    sys.stderr.write(printable("".join(traceback.format_exception(kind, error, trace))))
