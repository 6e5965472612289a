"""A file of JSON as its values, read one after another: a list, or a value on each line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from ..errors import KitError
from ..files.opening import MAX_LINE, check_depth, lines, parse_json, past_bounds

_CHUNK = 1 << 20  # characters
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def json_values(file: TextIO, name: str) -> Iterator[Any]:
    """The items of a list, or the value of each line that is not blank; the first character says which of the two.

    Raises:
        KitError: not JSON, or past the bounds of the reader; names the place.
    """
    begun = JsonReader(file, name)
    if begun.peek() == "[":
        yield from begun.items()
        return
    file.seek(0)
    for number, line in enumerate(lines(file, name), 1):
        if line.strip():
            yield parse_json(line, name, number)


class JsonReader:
    """A list in a file of JSON, item by item; no more of the file is held than an item and a chunk."""

    def __init__(self, file: TextIO, name: str) -> None:
        self.file, self.name = file, name
        self.text, self.at = "", 0  # what was read of the file, and how far it is used
        self.line, self.column = 0, 0  # of the first character of `text`, from 0

    def items(self) -> Iterator[Any]:
        """Yield the values of the file's one JSON array, one after another.

        Raises:
            KitError: as `json_values`.
        """
        self._take("[", "Expecting value")
        if self.peek() != "]":
            yield self._item()
            while self.peek() != "]":
                self._take(",", "Expecting ',' delimiter")
                yield self._item()
        self.at += 1
        if self.peek():
            raise self._error("Extra data", self.at)

    def peek(self) -> str:
        """The next character that is no space; none at the end of the file."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]  # it matches nothing, too
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._more():
                return ""

    def _take(self, mark: str, message: str) -> None:
        if self.peek() != mark:
            raise self._error(message, self.at)
        self.at += 1

    def _item(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:  # or the rest of it was not read yet
                if len(self.text) - self.at > MAX_LINE:
                    raise self._error(f"a row is longer than {MAX_LINE >> 20} Mi characters", self.at) from error
                if not self._more():
                    raise self._error(error.msg, error.pos) from error
            except (ValueError, RecursionError) as error:
                raise KitError(f"{self.name} {self._place(self.at)}: {past_bounds(error)}") from error
            else:
                if end < len(self.text) or not self._more():  # a number may have more digits in the next block
                    check_depth(value, f"{self.name} {self._place(self.at)}")
                    self.at = end
                    return value

    def _more(self) -> bool:
        """Read on, as much again as is held, so that a long item is not parsed more often than its length needs."""
        read = self.file.read(max(_CHUNK, len(self.text) - self.at))
        if not read:
            return False
        self.line, self.column = self._position(self.at)
        self.text, self.at = self.text[self.at :] + read, 0
        return True

    def _position(self, at: int) -> tuple[int, int]:
        breaks = self.text.count("\n", 0, at)
        if breaks:
            return self.line + breaks, at - self.text.rfind("\n", 0, at) - 1
        return self.line, self.column + at

    def _place(self, at: int) -> str:
        line, column = self._position(at)
        return f"line {line + 1}, column {column + 1}"

    def _error(self, message: str, at: int) -> KitError:
        return KitError(f"{self.name} {self._place(at)}: not JSON: {message}")
