"""Rows: LLaVA's JSON lists, JSONL and CSV files, and directories of Hugging Face datasets, read and checked."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..core.checkpoint import first_line
from ..core.errors import KitError


def read_rows(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of a ``.json`` list, of a ``.jsonl``, ``.csv`` or ``.tsv`` file, or of a directory of datasets.

    The directory is what ``Dataset.save_to_disk`` wrote; sounds and pictures in it stay undecoded
    (``{"bytes": ..., "path": ...}``).

    Raises:
        KitError: missing, empty, not JSON (with its line), or not rows; names the file.
    """
    path = Path(path)
    rows = _saved_dataset(path) if path.is_dir() else _read_text(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise KitError(f"{path}: wants a list of rows, like [{{'id': ..., 'conversations': [...]}}]")
    if not rows:
        raise KitError(f"{path}: has no rows")
    return rows


def _read_text(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KitError(f"cannot read data {str(path)!r}: {getattr(error, 'strerror', None) or error}") from error
    if path.suffix in (".csv", ".tsv"):
        return _table(text, path, delimiter="," if path.suffix == ".csv" else "\t")
    return _json_lines(text, path) if path.suffix == ".jsonl" else _json(text, f"{path}")


def _table(text: str, path: Path, *, delimiter: str) -> list[dict[str, Any]]:
    """Rows under a head line; every row as long as the head."""
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=delimiter, strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise KitError(f"{path} line {reader.reader.line_num}: {error}") from error
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise KitError(f"{path} row {number}: has another number of fields than the head line, {list(row)}")
    return rows


def _saved_dataset(path: Path) -> list[dict[str, Any]]:
    try:
        import datasets
    except ImportError as error:
        raise KitError(f"cannot read data {str(path)!r}: a directory needs datasets; pip install datasets") from error
    try:
        table = datasets.load_from_disk(str(path))
    except (FileNotFoundError, ValueError, OSError) as error:
        raise KitError(
            f"{path}: not a saved dataset ({first_line(error)}); give a .json, .jsonl or .csv file, or what "
            "Dataset.save_to_disk wrote"
        ) from error
    if isinstance(table, datasets.DatasetDict):
        raise KitError(f"{path}: holds several splits; give the folder of one: {', '.join(sorted(table))}")
    for column, feature in table.features.items():
        if isinstance(feature, (datasets.Audio, datasets.Image)):
            table = table.cast_column(column, type(feature)(decode=False))
    return list(table)


def with_root(row: Mapping[str, Any], modalities: Iterable[str], root: str | os.PathLike[str]) -> dict[str, Any]:
    """A row whose relative file names are taken from the folder `root`."""
    located = dict(row)
    for modality in modalities:
        if modality in row:
            given = row[modality]
            located[modality] = [_locate(g, root) for g in given] if isinstance(given, list) else _locate(given, root)
    if "messages" in row:
        located["messages"] = [_locate_parts(message, set(modalities), root) for message in row["messages"]]
    return located


def _locate(source: Any, root: str | os.PathLike[str]) -> Any:
    return str(Path(root) / source) if isinstance(source, str) else source


def _locate_parts(message: Mapping[str, Any], modalities: set[str], root: str | os.PathLike[str]) -> Mapping[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    keys = {*modalities, "path"}
    parts = [
        {k: _locate(v, root) if k in keys else v for k, v in p.items()} if isinstance(p, Mapping) else p
        for p in content
    ]
    return {**message, "content": parts}


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise KitError(f"{where} line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from error


def _json_lines(text: str, path: Path) -> list[Any]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: text may hold U+2028
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise KitError(f"{path} line {number}, column {error.colno}: not JSON: {error.msg}") from error
    return rows
