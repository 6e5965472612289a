"""Rows: from files that an installed reader takes, read one after another and checked."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from ..errors import KitError, near, shown
from ..files.absence import present
from ..files.item_names import columns_of, part_keys, part_types
from ..files.item_sources import is_name
from ..files.opening import MAX_LINE, lines, open_text, reason
from ..plugin.catalog import Offer
from ..plugin.discovery import installed_catalog
from ..plugin.specs import ReaderSpec, load
from .json_rows import json_values


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


def iterate_rows(path: str | os.PathLike[str], reader: str | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a file or directory, one after another, by the installed reader of its ending; of any other directory
    as a saved dataset, of any other file as JSON, a list of rows or a row on each line.

    Sounds and pictures that lie in the rows stay undecoded (``{"bytes": ..., "path": ...}``). What is absent, a null
    or NaN of a table or an empty cell of a CSV file, is no part of its row.

    Args:
        reader: the name of one, in place of what the ending says.

    Raises:
        KitError: missing, not of its kind (with the line), or not rows; names the file. Nobody offers such a reader.
    """
    path = Path(path)
    read: Callable[[Path], Iterable[Any]] = load(reader_of(path, reader))
    for row in read(path):
        if not isinstance(row, Mapping):
            raise KitError(f"{path}: needs a list of rows, like [{{'id': ..., 'conversations': [...]}}]")
        yield present(dict(row))


def reader_of(path: Path, name: str | None = None) -> ReaderSpec:
    """Who reads a file or directory: the reader of this name, or the one with the longest ending that it has.

    Raises:
        KitError: nobody offers it; two plugins offer a reader of this ending.
    """
    catalog = installed_catalog()
    if name is None and (found := by_ending(path.name.lower(), catalog.of_kind(ReaderSpec.kind))):
        if len(found) > 1:
            names = " and ".join(offer.qualified for offer in found)
            raise KitError(f"{path}: is read by {names}; say which with 'reader' in the recipe's data")
        name = found[0].qualified
    spec = catalog.find(ReaderSpec.kind, name or ("saved_dataset" if os.path.isdir(path) else "json")).spec
    assert isinstance(spec, ReaderSpec)
    return spec


def by_ending(name: str, offers: Iterable[Offer]) -> list[Offer]:
    """Those of the longest ending that a file's name has."""
    found: dict[int, list[Offer]] = {}
    for offer in offers:
        assert isinstance(offer.spec, ReaderSpec)
        if fitting := [len(ending) for ending in offer.spec.suffixes if name.endswith(ending)]:
            found.setdefault(max(fitting), []).append(offer)
    return found[max(found)] if found else []


def table_rows(path: Path) -> Iterator[dict[str, Any]]:
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


def json_rows(path: Path) -> Iterator[Any]:
    """A list of rows, or a row on each line.

    Raises:
        KitError: missing, or not JSON (with the line).
    """
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
    """Check that a file or directory of data exists.

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


def with_root(
    row: Mapping[str, Any], modalities: Collection[str], root: str | os.PathLike[str] | None
) -> Mapping[str, Any]:
    """A row whose relative file names are taken from the folder `root`; None: unchanged."""
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
    """A relative file name from the folder `root`, also in a mapping (``path``, ``url``) and in a list (the frames of a
    video); other values stay."""
    if root is None:
        return source
    if isinstance(source, list):
        return [locate(each, root) for each in source]
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
