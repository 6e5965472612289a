"""The contracts of the readers of rows that the kit ships."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .readers import ReaderContract

ROWS: tuple[dict[str, Any], ...] = tuple(
    {"id": f"row {number}", "question": f'What is {number}, "and"\n{"why" * number}?', "answer": f"größer {number}"}
    for number in range(7)
)


class JsonContract(ReaderContract):
    """A list of rows, and a row on each line."""

    def toy_file(self, folder: Path) -> Path:
        """Rows on lines."""
        return _written(folder / "toy.jsonl", "\n".join(map(json.dumps, ROWS)))

    def expected_rows(self, path: Path) -> Sequence[Mapping[str, Any]]:
        """As they are."""
        return ROWS

    def broken_files(self, folder: Path) -> Mapping[Path, str]:
        """Cut off, and with a comma too many; a list, and lines."""
        lines = [json.dumps(row) for row in ROWS]
        cut, comma = [*lines[:3], lines[3][:-9]], [*lines[:2], lines[2].replace(", ", ",, "), *lines[3:]]
        return {
            _written(folder / "cut.jsonl", "\n".join(cut)): "line 4",
            _written(folder / "comma.jsonl", "\n".join(comma)): "line 3",
            _written(folder / "list.json", f"[{','.join(chr(10) + line for line in comma)}]"): "line 4",
        }


class TableContract(ReaderContract):
    """A head line and rows."""

    def toy_file(self, folder: Path) -> Path:
        """With quotes and lines within cells."""
        return _written(folder / "toy.csv", _table(ROWS))

    def expected_rows(self, path: Path) -> Sequence[Mapping[str, Any]]:
        """As they are: all are texts."""
        return ROWS

    def broken_files(self, folder: Path) -> Mapping[Path, str]:
        """A cell too many, one too few, and a quote that does not end."""
        head, *rows = ("id,answer", "a,1", "b,2", "c,3")
        return {
            _written(folder / "more.csv", "\n".join([head, *rows, "d,4,5"])): "row 4",
            _written(folder / "fewer.csv", "\n".join([head, "a,1", "b", "c,3"])): "row 2",
            _written(folder / "quote.csv", "\n".join([head, *rows, 'd,"4'])): "line 5",
        }


class ParquetContract(ReaderContract):
    """Columns, in groups of rows."""

    def toy_file(self, folder: Path) -> Path:
        """In groups of three rows."""
        return _parquet(folder / "toy.parquet")

    def expected_rows(self, path: Path) -> Sequence[Mapping[str, Any]]:
        """As they are."""
        return ROWS

    def broken_files(self, folder: Path) -> Mapping[Path, str]:
        """Cut off, and with other bytes in the middle of a column: there, a file has no rows that could be named."""
        content = _parquet(folder / "whole.parquet").read_bytes()
        cut, other = folder / "cut.parquet", folder / "other.parquet"
        cut.write_bytes(content[:-20])
        other.write_bytes(content[:4] + bytes(60) + content[64:])
        return {cut: "expected a whole Parquet file", other: "expected a whole Parquet file"}


class TarContract(ReaderContract):
    """Files of one name are a row."""

    def toy_file(self, folder: Path) -> Path:
        """A row as JSON, a text and bytes each."""
        files: dict[str, bytes] = {}
        for number, row in enumerate(ROWS):
            files |= {f"{number}.json": json.dumps({"id": row["id"], "picture": f"{number}.png"}).encode()}
            files |= {f"{number}.png": bytes([number] * 9), f"{number}.txt": row["answer"].encode()}
        return _tar(folder / "toy.tar", files)

    def expected_rows(self, path: Path) -> Sequence[Mapping[str, Any]]:
        """The picture where its name stands, too."""
        rows = []
        for number, row in enumerate(ROWS):
            picture = {"bytes": bytes([number] * 9), "path": f"{path}/{number}.png"}
            rows.append({"id": row["id"], "png": picture, "txt": row["answer"], "picture": picture})
        return rows

    def broken_files(self, folder: Path) -> Mapping[Path, str]:
        """A row that is no JSON, a text that is none, and half a file."""
        cut = _tar(folder / "cut.tar", {"0.txt": b"right", "1.txt": b"right" * 999})
        cut.write_bytes(cut.read_bytes()[:2000])
        return {
            _tar(folder / "json.tar", {"0.txt": b"right", "1.json": b"{"}): "1.json",
            _tar(folder / "text.tar", {"0.txt": b"right", "a/1.txt": b"\xff\xfe"}): "a/1.txt",
            cut: "expected a whole tar file",
        }


class SavedDatasetContract(ReaderContract):
    """What Dataset.save_to_disk writes."""

    def toy_file(self, folder: Path) -> Path:
        """A folder."""
        return _saved(folder / "toy")

    def expected_rows(self, path: Path) -> Sequence[Mapping[str, Any]]:
        """As they are."""
        return ROWS

    def broken_files(self, folder: Path) -> Mapping[Path, str]:
        """A folder without the table, and one whose table is cut off."""
        gone, cut = _saved(folder / "gone"), _saved(folder / "cut")
        for path, keep in ((gone, 0), (cut, 100)):
            (table,) = path.glob("*.arrow")
            table.write_bytes(table.read_bytes()[:keep])
        return {gone: "not a saved dataset", cut: "not a saved dataset"}


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _parquet(path: Path) -> Path:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([dict(row) for row in ROWS])
    pyarrow.parquet.write_table(table, path, row_group_size=3, use_dictionary=False)
    return path


def _saved(path: Path) -> Path:
    import datasets

    datasets.disable_progress_bars()
    datasets.Dataset.from_list([dict(row) for row in ROWS]).save_to_disk(str(path))
    return path


def _tar(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            told = tarfile.TarInfo(name)
            told.size = len(content)
            tar.addfile(told, io.BytesIO(content))
    return path
