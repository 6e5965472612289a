"""Rows: LLaVA's JSON lists and JSONL files, read and checked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..core.errors import KitError


def read_rows(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of a ``.json`` list or of a ``.jsonl`` file.

    Raises:
        KitError: missing, empty, not JSON (with its line), or not rows; names the file.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KitError(f"cannot read data {str(path)!r}: {getattr(error, 'strerror', None) or error}") from error
    rows = _json_lines(text, path) if path.suffix == ".jsonl" else _json(text, f"{path}")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise KitError(f"{path}: wants a list of rows, like [{{'id': ..., 'conversations': [...]}}]")
    if not rows:
        raise KitError(f"{path}: has no rows")
    return rows


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
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise KitError(f"{path} line {number}, column {error.colno}: not JSON: {error.msg}") from error
    return rows
