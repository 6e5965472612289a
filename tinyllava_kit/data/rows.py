"""Rows: from JSON lists, JSONL, CSV, Parquet and tar files, read one after another and checked."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from ..errors import KitError, near, shown
from ..files.absence import present
from ..files.item_sources import columns_of, is_name, part_keys, part_types
from ..files.opening import MAX_LINE, lines, open_text, reason
from .huggingface import saved_rows
from .json_rows import json_values
from .shards import parquet_rows, tar_rows


class Row(NamedTuple):
    """A row and how messages call it; relative file names in it are taken from the folder `root`."""

    values: Mapping[str, Any]
    name: str
    root: str | os.PathLike[str] | None = None

    @property
    def label(self) -> str:
        """Its name and its id, as the conversation has them that is made of it."""
        return f"{self.name} {shown(self.values['id'])}" if "id" in self.values else self.name


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
    """The rows of a ``.csv``, ``.tsv``, ``.parquet`` or ``.tar`` file, one after another; of a saved dataset; of any
    other file as JSON, a list of rows or a row on each line.

    Sounds and pictures that lie in the rows stay undecoded (``{"bytes": ..., "path": ...}``). What is absent, a null
    or NaN of a table or an empty cell of a CSV file, is no part of its row.

    Raises:
        KitError: missing, not of its kind (with the line), or not rows; names the file.
    """
    path = Path(path)
    read = saved_rows if os.path.isdir(path) else _READERS.get(path.suffix.lower(), _json_rows)
    for row in read(path):
        if not isinstance(row, dict):
            raise KitError(f"{path}: wants a list of rows, like [{{'id': ..., 'conversations': [...]}}]")
        yield present(row)


def _table_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows under a head line; every row as long as the head. An empty cell is absent."""
    csv.field_size_limit(MAX_LINE)  # of the process; the default is shorter than a picture as base64
    with _text(path) as file:
        mark = "\t" if path.suffix.lower() == ".tsv" else ","
        reader = csv.DictReader(lines(file, str(path)), delimiter=mark, strict=True)
        try:
            for number, row in enumerate(reader, 1):
                if None in row or None in row.values():
                    names = list(reader.fieldnames or ())
                    raise KitError(f"{path} row {number}: has another number of fields than the head line, {names}")
                yield {column: cell for column, cell in row.items() if cell != ""}
        except csv.Error as error:
            raise KitError(f"{path} line {reader.reader.line_num}: {error}") from error


def _json_rows(path: Path) -> Iterator[Any]:
    with _text(path) as file:
        yield from json_values(file, str(path))


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    try:
        with open_text(path) as file:
            yield file
    except FileNotFoundError:
        check_there(path)
        raise
    except (OSError, UnicodeError) as error:
        raise KitError(f"cannot read data {shown(path)}: {reason(error)}") from error


def check_there(path: str | os.PathLike[str]) -> None:
    """
    Raises:
        KitError: there is no such file or directory; names one beside it that is called alike.
    """
    path = Path(path)
    if os.path.exists(path):
        return
    beside = os.listdir(path.parent) if os.path.isdir(path.parent) else []
    close = get_close_matches(path.name, beside)
    advice = near(path.name, close) if close else f"check the path; its folder {'is' if beside else 'is not'} there"
    raise KitError(f"cannot read data {shown(path)}: no such file; {advice}")


_READERS = {
    ".csv": _table_rows,
    ".tsv": _table_rows,
    ".parquet": parquet_rows,
    ".tar": tar_rows,
}


def with_root(
    row: Mapping[str, Any], modalities: Collection[str], root: str | os.PathLike[str] | None
) -> Mapping[str, Any]:
    """A row whose relative file names are taken from the folder `root`; None: as they are."""
    if root is None:
        return row
    located = dict(row)
    for column in columns_of(modalities):
        if column in row:
            given = row[column]
            located[column] = [locate(g, root) for g in given] if isinstance(given, list) else locate(given, root)
    if isinstance(row.get("messages"), list):
        located["messages"] = [_locate_parts(message, modalities, root) for message in row["messages"]]
    return located


def locate(source: Any, root: str | os.PathLike[str] | None) -> Any:
    """A relative file name from the folder `root`, also in a mapping (``path``, ``url``); what is no name stays."""
    if root is None:
        return source
    if isinstance(source, Mapping) and source.get("bytes") is None:
        return {key: locate(value, root) if key in ("path", "url") else value for key, value in source.items()}
    return str(Path(root) / source) if isinstance(source, str) and is_name(source) else source


def _locate_parts(message: Any, modalities: Collection[str], root: str | os.PathLike[str]) -> Any:
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, list):
        return message
    return {**message, "content": [_locate_part(part, modalities, root) for part in content]}


def _locate_part(part: Any, modalities: Collection[str], root: str | os.PathLike[str]) -> Any:
    modality = part_types(modalities).get(str(part.get("type"))) if isinstance(part, Mapping) else None
    if modality is None:
        return part
    return {key: locate(value, root) if key in part_keys(modality) else value for key, value in part.items()}
