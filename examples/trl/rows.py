"""Rows of easy-VQA as TRL's trainers read them: a prompt, its picture, and the right answer.

`prepare` of the easy-VQA example writes such files: ``open.json`` (what colour, what shape) and ``compare.json`` (yes
or no, as many of each). Rows of messages and LLaVA rows are read; of either the first picture and the first question.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, Image

Row = Mapping[str, Any]


def read_rows(files: Sequence[str | Path], limit: int, seed: int = 0) -> list[dict[str, Any]]:
    """Some of the files' rows, drawn at random: `question`, `answer`, and the `image` as a path."""
    rows = [_row(row, Path(file).parent) for file in files for row in json.loads(Path(file).read_text("utf-8"))]
    return random.Random(seed).sample(rows, min(limit, len(rows)))


def _row(row: Row, folder: Path) -> dict[str, Any]:
    if "messages" in row:
        asked, answered = (message["content"] for message in row["messages"][:2])
        parts = {part["type"]: part for part in reversed(asked)}  # the first of each type
        question, picture = parts["text"]["text"].strip(), parts["image"]["path"]
        return {"question": question, "answer": answered.strip(), "image": str(folder / picture)}
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
