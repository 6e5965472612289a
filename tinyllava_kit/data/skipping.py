"""Rows that cannot be used and are left out: counted, listed with their reasons, and never replaced by others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from ..core.conversation import Conversation
from ..core.spans import IGNORE_INDEX, TextSpan
from ..errors import KitError
from ..files.origins import digest_of, folder_of, row_of, said_of
from ..files.writing import write_file
from ..processing.encoded import Encoded


class OptionalConversation(Conversation):
    """One that is left out when it cannot be read."""


@dataclass(frozen=True)
class SkippedRow(Encoded):
    """Stands in a batch where a row was left out: one position of padding, and nothing to learn.

    So which rows make a batch, and how many batches there are, does not depend on which rows are bad.
    """

    @classmethod
    def named(cls, name: str, pad_id: int) -> SkippedRow:
        """For the row of that name."""
        return cls([TextSpan([pad_id], [IGNORE_INDEX])], (), name)


class SkippedRows:
    """The list of them: in memory and, where a file is given, a line of JSON each as they are found.

    Processes that read data append to one file; `tidy` leaves each row once. The file may be given away with the model:
    it holds no path of this machine, and a digest of the folder where rows of two files would be called alike.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.reasons: dict[str, str] = {}

    def add(self, name: str, reason: str) -> None:
        """List a row."""
        if name in self.reasons:
            return
        self.reasons[name] = reason
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(_Line.of(name, reason).text())

    @contextmanager
    def catching(self, name: str) -> Iterator[None]:
        """List the row of that name if the block raises a `KitError`."""
        try:
            yield
        except KitError as error:
            self.add(name, str(error))

    def forget(self) -> None:
        """Begin with an empty list."""
        self.reasons.clear()
        if self.file is not None:
            self.file.unlink(missing_ok=True)

    def tidy(self) -> int:
        """Read what other processes found, leave each row once in the file; returns how many there are."""
        found = dict.fromkeys(_Line.of(*each) for each in self.reasons.items())
        if self.file is not None and self.file.exists():
            for line in self.file.read_bytes().splitlines():
                with suppress(ValidationError):  # a process that was killed left half a line
                    found.setdefault(_Line.model_validate_json(line))
            write_file(self.file, "".join(each.text() for each in found))
        return len(found)


class _Line(BaseModel):
    """A row of the list. Two of the same row are equal, whatever their reasons."""

    row: str
    reason: str
    folder: str = ""  # of the row's file, its digest

    @classmethod
    def of(cls, name: str, reason: str) -> _Line:
        row, reason = (_text(each) for each in (row_of(name), said_of(name, reason)))
        return cls(row=row, reason=reason, folder=digest_of(folder) if (folder := folder_of(name)) else "")

    def __hash__(self) -> int:
        return hash((self.row, self.folder))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Line) and (self.row, self.folder) == (other.row, other.folder)

    def text(self) -> str:
        return json.dumps(self.model_dump(exclude_defaults=True), ensure_ascii=False) + "\n"


def _text(words: str) -> str:
    """What can be written: a name may be no text."""
    return words.encode("utf-8", "backslashreplace").decode()
