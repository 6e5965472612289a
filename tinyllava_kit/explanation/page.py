"""An explanation as files: one HTML page that needs nothing beside it, and its drawings as PNG."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..files.atomic import atomic_directory
from ..files.writing import write_file
from ..pages.media import inline
from ..pages.templating import render
from ..processing.processor import TinyLlavaProcessor
from .drawings import MAX_WORDS, attention_png, words_png
from .explaining import Explanation, Rows

NOTE = (
    "Attention is the mean over all layers and heads, read where a token was chosen. It says where the model looked, "
    "not what it made of it. In most models the first position takes the largest part, whatever it holds."
)


def write_page(
    explanation: Explanation, processor: TinyLlavaProcessor, directory: str | os.PathLike[str]
) -> list[Path]:
    """Write ``index.html`` and the drawings; the directory appears whole or not at all.

    Returns:
        The files.

    Raises:
        KitError: it cannot be written, or matplotlib is not installed.
    """
    page, drawings = page_of(explanation, processor)
    with atomic_directory(directory) as stage:
        write_file(stage / "index.html", page)
        for name, png in drawings.items():
            (stage / name).write_bytes(png)
    return [Path(directory) / name for name in ("index.html", *drawings)]


def page_of(explanation: Explanation, processor: TinyLlavaProcessor) -> tuple[str, dict[str, bytes]]:
    """The page, which holds its drawings, and these: the name of a file -> its content.

    Raises:
        KitError: matplotlib is not installed.
    """
    drawings: dict[str, bytes] = {}
    items = []
    for index, rows in enumerate(explanation.items):
        modality = processor.modalities[rows.modality]
        named = {
            f"{rows.modality}-{index + 1}-attention.png": attention_png(explanation, rows, modality, index),
            f"{rows.modality}-{index + 1}-words.png": words_png(rows, modality),
        }
        mine = {name: png for name, png in named.items() if png is not None}
        drawings |= mine
        items.append(_item(rows, index, mine))
    page = render(
        "explanation.html",
        title=explanation.answer,
        explanation=explanation,
        note=NOTE,
        attends=any(word.shares for word in explanation.words),
        between=_between(explanation),
        items=items,
        max_words=MAX_WORDS,
    )
    return page, drawings


def _between(explanation: Explanation) -> list[dict[str, Any]]:
    """How much of each word's attention fell on each word before it, and that in the largest such share."""
    if explanation.between is None or len(explanation.words) < 2:
        return []
    words = [word.text for word in explanation.words[:MAX_WORDS]]
    shares = explanation.between[: len(words), : len(words)].tolist()
    largest = max(max(row) for row in shares) or 1.0
    return [
        {"word": word, "shares": [(s, s / largest if before < at else None) for before, s in enumerate(row)]}
        for at, (word, row) in enumerate(zip(words, shares, strict=True))
    ]


def _item(rows: Rows, index: int, drawings: dict[str, bytes]) -> dict[str, Any]:
    """One item: its drawings, and the nearest words of each of its rows."""
    return {
        "name": f"{rows.modality} {index + 1}",
        "source": Path(rows.source).name if isinstance(rows.source, (str, os.PathLike)) else None,
        "places": _places(rows),
        "drawings": [inline(png, alt=name) for name, png in drawings.items()],
        "nearest": rows.nearest,
    }


def _places(rows: Rows) -> str:
    """What the explanation knows of where the rows come from."""
    made = f"{rows.num_features} features of the tower became {len(rows.nearest)} rows of the LLM"
    if rows.sources is None:
        return f"{made}; each depends on all features, or nobody knows on which: they have no place in the item."
    raster = f", a raster of {rows.grid[0]} x {rows.grid[1]}" if rows.grid else ""
    return (
        f"{made}{raster}. A row's attention is shared out among the features that it was made of; where these have no "
        "place in the item, the rows are a strip in their order."
    )
