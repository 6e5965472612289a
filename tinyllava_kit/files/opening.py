"""Files that a user names: opened where they end and never wait, read as text or JSON within bounds. Light.

A name may be that of a pipe, a socket or a device: opening it may wait for ever, and reading it may never end. So every
file that a user names is opened by `open_file`, or checked by `check_file` before a library opens it by its name.
"""

from __future__ import annotations

import codecs
import errno
import io
import json
import os
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO, TextIO

from ..errors import KitError, shown

AnyPath = str | os.PathLike[str]

MAX_LINE = 64 << 20  # characters of a line, and of a row: a picture of some 48 MB as base64
MAX_TEXT = 256 << 20  # bytes of a file of text that is read whole
MAX_DEPTH = 100  # of lists and mappings in one another: code that walks through them would need a deeper stack

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
_MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def open_file(path: AnyPath) -> BinaryIO:
    """``open(path, "rb")`` for a regular file.

    Raises:
        OSError: as `open`; and for a name that no file can have, and for anything but a regular file.
    """
    try:
        return open(path, "rb", opener=_opened)
    except ValueError as error:
        raise _no_name() from error


def check_file(path: AnyPath) -> None:
    """For a library that opens a file by its name.

    Raises:
        OSError: there is no such file, or it is no regular one.
    """
    try:
        _check(os.stat(path).st_mode)
    except ValueError as error:
        raise _no_name() from error


def check_directory(path: AnyPath) -> None:
    """For a library that opens files of a directory by their names. Anything but a directory passes.

    Raises:
        KitError: it holds something else than files and directories; names it.
    """
    if not os.path.isdir(path):
        return
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        try:
            mode = entry.stat().st_mode
        except OSError:  # a link to nowhere: who reads it says so
            continue
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            raise KitError(f"{shown(entry.path)} {_kind(mode)}; take it out of the directory")


def open_text(path: AnyPath) -> TextIO:
    """A regular file as text: UTF-8, or UTF-16 or UTF-32 where its byte order mark says so.

    Lines end in line feeds and nowhere else: a text may hold U+2028.

    Raises:
        OSError: as `open_file`.
    """
    file = open_file(path)
    head = file.peek(4)  # type: ignore[attr-defined]  # of a BufferedReader
    encoding = next((encoding for mark, encoding in _MARKS if head.startswith(mark)), "utf-8")
    return io.TextIOWrapper(file, encoding=encoding, newline="\n")


def read_text(path: AnyPath) -> str:
    """All of a file of text, see `open_text`.

    Raises:
        KitError: it cannot be opened, is not text or too large; names it.
    """
    try:
        with open_text(path) as file:
            if os.fstat(file.fileno()).st_size > MAX_TEXT:
                raise KitError(f"{shown(path)}: is larger than {MAX_TEXT >> 20} MiB, which no such file is")
            return file.read()
    except (OSError, UnicodeError) as error:
        raise KitError(f"cannot read {shown(path)}: {reason(error)}") from error


def lines(file: TextIO, name: str) -> Iterator[str]:
    """The lines of a file of text, each with its end.

    Raises:
        KitError: one is longer than `MAX_LINE`; names the file and the line.
    """
    number = 1
    while line := file.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise KitError(f"{name} line {number}: is longer than {MAX_LINE >> 20} Mi characters, the most of a row")
        yield line
        number += 1


def parse_json(text: str, name: str, line: int = 1) -> Any:
    """The value of a text of JSON.

    Args:
        name: of its file; `line`: where the text begins in it.

    Raises:
        KitError: not JSON, or past the bounds of the reader; names the place.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise KitError(f"{name} line {line + error.lineno - 1}, column {error.colno}: not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise KitError(f"{name} line {line}: {past_bounds(error)}") from error
    check_depth(value, f"{name} line {line}")
    return value


def read_json(path: AnyPath) -> Any:
    """Read the JSON value of a file.

    Raises:
        KitError: as `read_text` and `parse_json`.
    """
    return parse_json(read_text(path), str(path))


def past_bounds(error: Exception) -> str:
    """The reason why Python does not read JSON that is valid."""
    if isinstance(error, RecursionError):
        return f"lists and mappings stand in one another more than {MAX_DEPTH} deep"
    return "holds a number of thousands of digits"


def check_depth(value: Any, where: str) -> None:
    """Check that a value is nested at most `MAX_DEPTH` deep.

    Raises:
        KitError: lists and mappings stand in one another more than `MAX_DEPTH` deep.
    """
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        within = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list))]
        level = [value for values in within for value in values if isinstance(value, (dict, list))]
        if not level:
            return
    raise KitError(f"{where}: {past_bounds(RecursionError())}")


def reason(error: Exception) -> str:
    """Why a file could not be read, without its name."""
    return getattr(error, "strerror", None) or (str(error).strip() or type(error).__name__).splitlines()[0]


def _opened(path: str, flags: int) -> int:
    _check(os.stat(path).st_mode)  # a device is not even opened
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # what took its place since does not wait
    try:
        _check(os.fstat(handle).st_mode)
    except OSError:
        os.close(handle)
        raise
    return handle


def _check(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, _kind(mode))


def _kind(mode: int) -> str:
    return f"is {_KINDS.get(stat.S_IFMT(mode), 'something else')} and not a file"


def _no_name() -> OSError:
    return OSError(errno.EINVAL, "no file can have this name: it holds a NUL or half of a character")
