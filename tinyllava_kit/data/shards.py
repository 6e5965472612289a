"""Shards: Parquet files and WebDataset's tar files, whose rows hold their items, and the patterns that name many."""

from __future__ import annotations

import glob
import itertools
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import KitError, shown
from ..files.opening import check_file, open_file, parse_json, reason

_RANGE = re.compile(r"\{(\d{1,18})\.\.(\d{1,18})\}|\{([^{}]*,[^{}]*)\}")
MAX_FILES = 100_000  # that a pattern names
MAX_SAMPLE = 512 << 20  # bytes of a tar file's sample, which is read whole, and of a Parquet file's rows at once
MAX_GROUP = 1 << 30  # bytes of a Parquet file's row group, where they are packed in a hundredth of that or less
_MOST_PACKED = 100
_ROWS_AT_ONCE = 64  # of a Parquet file: they may hold pictures


def named_files(path: str) -> list[str]:
    """The files that a path names: itself, or those of its brace ranges and wildcards, sorted.

    Example:
        >>> named_files("a-{08..10}.json")  # which must exist
        ['a-08.json', 'a-09.json', 'a-10.json']

    Raises:
        KitError: a range or a wildcard names no file.
    """
    if os.path.exists(path) or not re.search(r"[{*?\[]", path):
        return [path]
    files: list[str] = []
    for each in _expanded(path):
        found = sorted(glob.glob(each, recursive=True)) if re.search(r"[*?\[]", each) else [each]
        if not found or not all(map(os.path.exists, found)):
            raise KitError(f"{shown(path)}: there is no file {shown(each)}")
        files += found
        if len(files) > MAX_FILES:
            raise KitError(f"{shown(path)}: names more than {MAX_FILES} files; put their rows in fewer")
    return files


def _expanded(path: str) -> Iterator[str]:
    """``a{1..2}{b,c}`` -> ``a1b``, ``a1c``, ``a2b``, ``a2c``; numbers as wide as the first is written.

    Raises:
        KitError: more than `MAX_FILES`.
    """
    pieces: list[list[str]] = []
    at, count = 0, 1
    for found in _RANGE.finditer(path):
        first, last, listed = found.groups()
        between = listed.split(",") if listed is not None else range(int(first), int(last) + 1)
        count *= len(between)
        if count > MAX_FILES:
            raise KitError(f"{shown(path)}: names more than {MAX_FILES} files; check its ranges")
        width = 0 if listed is not None else len(first)
        pieces += [[path[at : found.start()]], [str(each).zfill(width) for each in between]]
        at = found.end()
    return map("".join, itertools.product(*pieces, [path[at:]]))


def parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, some at a time; a column of pictures holds ``{"bytes": ..., "path": ...}``.

    Raises:
        KitError: not a Parquet file, one that unpacks to too much, or pyarrow is not installed.
    """
    with _parquet_file(path) as file:
        for batch in file.iter_batches(batch_size=_rows_at_once(path, file.metadata)):
            yield from batch.to_pylist()


def check_parquet(path: Path) -> None:
    """For a library that opens a Parquet file by its name.

    Raises:
        KitError: as `parquet_rows`, by what its end says of it.
    """
    with _parquet_file(path) as file:
        _rows_at_once(path, file.metadata)


@contextmanager
def _parquet_file(path: Path) -> Iterator[Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise KitError(f"cannot read data {str(path)!r}: a Parquet file needs pyarrow; pip install pyarrow") from error
    try:
        check_file(path)
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise KitError(f"cannot read data {shown(path)}: {reason(error)}; expected a whole Parquet file") from error


def _rows_at_once(path: Path, metadata: Any) -> int:
    """How many rows of a Parquet file take no more memory than a sample may.

    Raises:
        KitError: one takes more, or a few bytes are to become very many.
    """
    largest = 1
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        columns = [group.column(number) for number in range(group.num_columns)]
        size = sum(column.total_uncompressed_size for column in columns)
        packed = sum(column.total_compressed_size for column in columns)
        if size > MAX_GROUP and size > _MOST_PACKED * packed:
            raise KitError(
                f"{shown(path)}: {packed} bytes of it unpack to {size}, more than {MAX_GROUP >> 20} MiB and more than "
                f"{_MOST_PACKED} times as many; write it anew with smaller row groups"
            )
        largest = max(largest, size // max(group.num_rows, 1), *map(_repeated, columns))
    if largest > MAX_SAMPLE:
        raise KitError(f"{shown(path)}: its rows are of {largest} bytes, a row may have {MAX_SAMPLE >> 20} MiB")
    return max(1, min(_ROWS_AT_ONCE, MAX_SAMPLE // largest))


def _repeated(column: Any) -> int:
    """Bytes that each row may have of a column that is packed very well: one value, written once for all of them."""
    size = column.total_uncompressed_size
    return size if column.has_dictionary_page and size > _MOST_PACKED * column.total_compressed_size else 0


def tar_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The samples of a WebDataset shard: files of one name, up to its first dot, behind one another.

    ``KEY.json`` holds the row. Every other file is a column under what follows the first dot: ``txt`` is text, the
    rest ``{"bytes": ..., "path": SHARD/NAME}``. A column of the row that is the name of a file of the sample gets that
    file. ``id`` is the key where the row has none.

    Raises:
        KitError: not a tar file, cut off, or a JSON file that is not a row; names the shard and the file.
    """
    try:
        with open_file(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            files: dict[str, bytes] = {}
            key, size = "", 0
            for member in tar:
                if not member.isfile():
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, _ = name.partition(".")
                if files and f"{folder}/{stem}" != key:
                    yield _sample(path, files)
                    files, size = {}, 0
                key, size = f"{folder}/{stem}", size + member.size
                if size > MAX_SAMPLE:  # a few bytes may claim any number, in a file with holes
                    raise KitError(f"{path}/{shown(member.name)}: is larger than {MAX_SAMPLE >> 20} MiB")
                opened = tar.extractfile(member)
                assert opened is not None  # of a file there is
                files[member.name] = opened.read()
            if files:
                yield _sample(path, files)
    except (OSError, ValueError, tarfile.TarError) as error:
        raise KitError(f"cannot read data {shown(path)}: {reason(error)}; expected a whole tar file") from error


def _sample(path: Path, files: dict[str, bytes]) -> dict[str, Any]:
    """The row of a sample's files, name -> content."""
    row: dict[str, Any] = {}
    columns: dict[str, Any] = {}
    by_name: dict[str, Any] = {}
    for name, content in files.items():
        stem, _, column = name.rpartition("/")[2].partition(".")
        try:
            if column == "json":
                row |= parse_json(content.decode("utf-8-sig"), f"{path}/{name}")
            elif column == "txt":
                columns[column] = content.decode()
            else:
                columns[column] = {"bytes": content, "path": f"{path}/{name}"}
                by_name |= dict.fromkeys((name, name.rpartition("/")[2]), columns[column])
        except (TypeError, ValueError) as error:
            raise KitError(f"{path}/{name}: {reason(error)}; expected a row as JSON, or text") from error
    named = {column: _file_of(value, by_name) for column, value in row.items()}
    return {"id": stem, **columns, **named}


def _file_of(value: Any, files: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_file_of(each, files) for each in value]
    return files.get(value, value) if isinstance(value, str) else value
