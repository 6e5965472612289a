"""The log of an evaluation: one line of JSON per answer, so that a killed evaluation resumes. Light."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import KitError

Answer = str | Sequence[float]  # the text, or how likely the model finds each of several answers


class _Line(BaseModel):
    """What every line holds; a line also has what else is known of its question."""

    model_config = ConfigDict(extra="allow", strict=True)

    control: str
    row: int = Field(ge=0)


class _Said(_Line):
    said: str


class _Ranked(_Line):
    log_probs: list[float]


_LINES: dict[str, type[_Line]] = {"said": _Said, "log_probs": _Ranked}


class AnswerLog:
    """What a model answered, on disk.

    Each line holds the `control`, the `row` (a question's place) and the answer under `key`, with what else is known
    of the question. A line that was not finished is dropped when the next is written.

    Args:
        path: of the file, made when the first answer is added.
        key: what the answers are called in it, ``said`` or ``log_probs``.

    Raises:
        KitError: a line that is none of this log's; names it.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self._answers: dict[str, dict[int, Answer]] = {}
        whole = path.read_bytes() if path.exists() else b""
        whole = whole[: whole.rfind(b"\n") + 1]
        self._size = len(whole)
        for number, line in enumerate(whole.splitlines(), 1):
            self._read(line, number)

    def known(self, control: str) -> Mapping[int, Any]:
        """Place of a question -> the answer to it under a control."""
        return self._answers.get(control, {})

    def add(self, control: str, lines: Mapping[int, Mapping[str, Any]]) -> None:
        """Write answers under the places of their questions, safe on the disk when this returns.

        Raises:
            KitError: the file cannot be written.
        """
        try:
            with self.path.open("ab") as file:
                file.truncate(self._size)
                for place, line in lines.items():
                    text = json.dumps({"control": control, "row": place, **line}, ensure_ascii=False)
                    file.write(text.encode("utf-8", "surrogatepass") + b"\n")
                file.flush()
                os.fsync(file.fileno())
                self._size = file.tell()
                self.know(control, lines)
        except OSError as error:
            raise KitError(f"cannot write {str(self.path)!r}: {error.strerror}; its complete lines are kept") from error

    def know(self, control: str, lines: Mapping[int, Mapping[str, Any]]) -> None:
        """Take answers that another process writes."""
        self._answers.setdefault(control, {}).update({place: line[self.key] for place, line in lines.items()})

    def _read(self, line: bytes, number: int) -> None:
        try:
            entry = _LINES[self.key].model_validate_json(line)
            self._answers.setdefault(entry.control, {})[entry.row] = getattr(entry, self.key)
        except ValidationError as error:
            raise KitError(
                f"{self.path} line {number}: not an answer of an evaluation; remove the file to ask again"
            ) from error
