"""Rows: from JSON lists, JSONL, CSV, Parquet and tar files, read one after another and checked."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from ..core.errors import KitError, near
from .huggingface import saved_rows
from .shards import parquet_rows, tar_rows


class Row(NamedTuple):
    """A row and how messages call it; relative file names in it are taken from the folder `root`."""

    values: Mapping[str, Any]
    name: str
    root: str | os.PathLike[str] | None = None

    @property
    def label(self) -> str:
        """Its name and its id, as the conversation has them that is made of it."""
        return f"{self.name} {self.values['id']!r}" if "id" in self.values else self.name


def read_rows(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of a file, or of a directory that ``Dataset.save_to_disk`` wrote; see `iterate_rows`.

    Raises:
        KitError: as `iterate_rows`, and when there are none; names the file.
    """
    rows = list(iterate_rows(path))
    if not rows:
        raise KitError(f"{Path(path)}: has no rows")
    return rows


def iterate_rows(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The rows of a ``.jsonl``, ``.csv``, ``.tsv``, ``.parquet`` or ``.tar`` file, one after another; of a saved
    dataset; of any other file as a JSON list, which is read whole.

    Sounds and pictures that lie in the rows stay undecoded (``{"bytes": ..., "path": ...}``).

    Raises:
        KitError: missing, not of its kind (with the line), or not rows; names the file.
    """
    path = Path(path)
    read = saved_rows if path.is_dir() else _READERS.get(path.suffix, _json_rows)
    for row in read(path):
        if not isinstance(row, dict):
            raise KitError(f"{path}: wants a list of rows, like [{{'id': ..., 'conversations': [...]}}]")
        yield row


def _table_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows under a head line; every row as long as the head."""
    with _text(path) as file:
        reader = csv.DictReader(_without_mark(file), delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
        try:
            for number, row in enumerate(reader, 1):
                if None in row or None in row.values():
                    names = list(reader.fieldnames or ())
                    raise KitError(f"{path} row {number}: has another number of fields than the head line, {names}")
                yield row
        except csv.Error as error:
            raise KitError(f"{path} line {reader.reader.line_num}: {error}") from error


def _json_rows(path: Path) -> Iterator[Any]:
    with _text(path) as file:
        text = file.read()
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise KitError(f"{path} line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from error
    yield from rows if isinstance(rows, list) else [None]


def _json_lines(path: Path) -> Iterator[Any]:
    with _text(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except json.JSONDecodeError as error:
                    raise KitError(f"{path} line {number}, column {error.colno}: not JSON: {error.msg}") from error


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    """A file of text whose lines end in line feeds and nowhere else: a text in it may hold U+2028."""
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            yield file
    except FileNotFoundError:
        check_there(path)
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise KitError(f"cannot read data {str(path)!r}: {getattr(error, 'strerror', None) or error}") from error


def check_there(path: str | os.PathLike[str]) -> None:
    """
    Raises:
        KitError: there is no such file or directory; names one beside it that is called alike.
    """
    path = Path(path)
    if path.exists():
        return
    beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    close = get_close_matches(path.name, beside)
    advice = near(path.name, close) if close else f"check the path; its folder {'is' if beside else 'is not'} there"
    raise KitError(f"cannot read data {str(path)!r}: no such file; {advice}")


def _without_mark(lines: Iterable[str]) -> Iterator[str]:
    """Without the byte order mark that some programs put in front of a file."""
    for number, line in enumerate(lines):
        yield line if number else line.removeprefix("\ufeff")


_READERS = {
    ".jsonl": _json_lines,
    ".csv": _table_rows,
    ".tsv": _table_rows,
    ".parquet": parquet_rows,
    ".tar": tar_rows,
}


def with_root(
    row: Mapping[str, Any], modalities: Iterable[str], root: str | os.PathLike[str] | None
) -> Mapping[str, Any]:
    """A row whose relative file names are taken from the folder `root`; None: as they are."""
    if root is None:
        return row
    located = dict(row)
    for modality in modalities:
        if modality in row:
            given = row[modality]
            located[modality] = [locate(g, root) for g in given] if isinstance(given, list) else locate(given, root)
    if isinstance(row.get("messages"), list):
        located["messages"] = [_locate_parts(message, set(modalities), root) for message in row["messages"]]
    return located


def locate(source: Any, root: str | os.PathLike[str] | None) -> Any:
    """A relative file name from the folder `root`; what is no name stays."""
    return str(Path(root) / source) if isinstance(source, str) and root is not None else source


def _locate_parts(message: Mapping[str, Any], modalities: set[str], root: str | os.PathLike[str]) -> Mapping[str, Any]:
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, list):
        return message
    keys = {*modalities, "path"}
    parts = [
        {k: locate(v, root) if k in keys else v for k, v in p.items()} if isinstance(p, Mapping) else p for p in content
    ]
    return {**message, "content": parts}
