"""Rows of easy-VQA as TRL's trainers read them: a prompt, its picture, and what is right.

`prepare` of the easy-VQA example writes such files (``train.json``). Of a LLaVA row, the first picture and the first
question are taken.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, Image

Row = Mapping[str, Any]


def read_rows(file: str | Path, limit: int, seed: int = 0) -> list[dict[str, Any]]:
    """Some of a file's rows, drawn at random: `question`, `answer`, and the `image` as a path."""
    rows = json.loads(Path(file).read_text(encoding="utf-8"))
    drawn = random.Random(seed).sample(rows, min(limit, len(rows)))
    return [_row(row, Path(file).parent) for row in drawn]


def _row(row: Row, folder: Path) -> dict[str, Any]:
    asked, answered = row["conversations"][:2]
    question = asked["value"].replace("<image>", "").strip()
    picture = row["image"] if isinstance(row["image"], str) else row["image"][0]  # its file, or those of several
    return {"question": question, "answer": answered["value"].strip(), "image": str(folder / picture)}


def said(role: str, text: str) -> list[dict[str, str]]:
    """A message, as a conversation of its own."""
    return [{"role": role, "content": text}]


def with_pictures(rows: Sequence[Row]) -> Dataset:
    """The rows as a data set whose column `images` holds pictures, a list of one each."""
    columns = [{**{k: v for k, v in row.items() if k != "image"}, "images": [row["image"]]} for row in rows]
    data = Dataset.from_list(columns)
    return data.cast_column("images", [Image()])
