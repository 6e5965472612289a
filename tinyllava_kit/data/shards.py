"""Shards: Parquet files and WebDataset's tar files, whose rows hold their items, and the patterns that name many."""

from __future__ import annotations

import glob
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.checkpoint import first_line
from ..core.errors import KitError

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")
_ROWS_AT_ONCE = 64  # of a Parquet file: they may hold pictures


def named_files(path: str) -> list[str]:
    """The files that a path names: itself, or those of its brace ranges and wildcards, sorted.

    Example:
        >>> named_files("a-{08..10}.json")  # which must exist
        ['a-08.json', 'a-09.json', 'a-10.json']

    Raises:
        KitError: a range or a wildcard names no file.
    """
    if Path(path).exists() or not re.search(r"[{*?\[]", path):
        return [path]
    files = []
    for each in _expanded(path):
        found = sorted(glob.glob(each, recursive=True)) if re.search(r"[*?\[]", each) else [each]
        if not found or not all(Path(file).exists() for file in found):
            raise KitError(f"{path}: there is no file {each}")
        files += found
    return files


def _expanded(path: str) -> list[str]:
    """``a{1..2}{b,c}`` -> ``a1b``, ``a1c``, ``a2b``, ``a2c``; numbers as wide as the first is written."""
    found = _RANGE.search(path)
    if found is None:
        return [path]
    first, last, listed = found.groups()
    if listed is not None:
        between = listed.split(",")
    else:
        between = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return [path[: found.start()] + each + rest for each in between for rest in _expanded(path[found.end() :])]


def parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, some at a time; a column of pictures holds ``{"bytes": ..., "path": ...}``.

    Raises:
        KitError: not a Parquet file, or pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise KitError(f"cannot read data {str(path)!r}: a Parquet file needs pyarrow; pip install pyarrow") from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise KitError(f"cannot read data {str(path)!r}: {reason}; expected a whole Parquet file") from error


def tar_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The samples of a WebDataset shard: files of one name, up to its first dot, behind one another.

    ``KEY.json`` holds the row. Every other file is a column under what follows the first dot: ``txt`` is text, the
    rest ``{"bytes": ..., "path": SHARD/NAME}``. A column of the row that is the name of a file of the sample gets that
    file. ``id`` is the key where the row has none.

    Raises:
        KitError: not a tar file, cut off, or a JSON file that is not a row; names the shard and the file.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            key, files = "", {}
            for member in tar:
                if not member.isfile():
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, _ = name.partition(".")
                if files and f"{folder}/{stem}" != key:
                    yield _sample(path, files)
                    files = {}
                key = f"{folder}/{stem}"
                files[member.name] = tar.extractfile(member).read()
            if files:
                yield _sample(path, files)
    except (OSError, tarfile.TarError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise KitError(f"cannot read data {str(path)!r}: {reason}; expected a whole tar file") from error


def _sample(path: Path, files: dict[str, bytes]) -> dict[str, Any]:
    """The row of a sample's files, name -> content."""
    row: dict[str, Any] = {}
    columns: dict[str, Any] = {}
    by_name: dict[str, Any] = {}
    for name, content in files.items():
        stem, _, column = name.rpartition("/")[2].partition(".")
        try:
            if column == "json":
                row |= json.loads(content)
            elif column == "txt":
                columns[column] = content.decode()
            else:
                columns[column] = {"bytes": content, "path": f"{path}/{name}"}
                by_name |= dict.fromkeys((name, name.rpartition("/")[2]), columns[column])
        except (TypeError, ValueError) as error:
            raise KitError(f"{path}/{name}: {first_line(error)}; expected a row as JSON, or text") from error
    named = {column: _file_of(value, by_name) for column, value in row.items()}
    return {"id": stem, **columns, **named}


def _file_of(value: Any, files: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_file_of(each, files) for each in value]
    return files.get(value, value) if isinstance(value, str) else value
