"""An explanation as files: one HTML page that needs nothing beside it, and its drawings as PNG."""

from __future__ import annotations

import html
import os
from pathlib import Path

from ..files.atomic import atomic_directory
from ..files.writing import write_file
from ..pages.html import document, picture, table
from ..processing.processor import TinyLlavaProcessor
from .drawings import MAX_WORDS, attention_png, words_png
from .explaining import Explanation, Rows

_SHADES = 20  # of a share of the attention
_SHADING = "\n".join(f".s{n} {{ background: rgba(200, 80, 0, {n / _SHADES:.2f}) }}" for n in range(1, _SHADES + 1))
# The page has no style but this one, so that a server's policy may name it by its digest; who shows the page in a frame
# may choose its colors.
PAGE_STYLE = f"""
body {{ max-width: 70rem; overflow-wrap: break-word }} img {{ max-width: 100% }}
table {{ display: block; overflow-x: auto }}
.token {{ background: light-dark(#eee, #333); padding: 0 .2rem; white-space: pre }}
details > summary {{ cursor: pointer }}
[data-theme=light] {{ color-scheme: light }} [data-theme=dark] {{ color-scheme: dark }}
{_SHADING}
"""
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
    sections = []
    for index, rows in enumerate(explanation.items):
        modality = processor.modalities[rows.modality]
        named = {
            f"{rows.modality}-{index + 1}-attention.png": attention_png(explanation, rows, modality, index),
            f"{rows.modality}-{index + 1}-words.png": words_png(rows, modality),
        }
        mine = {name: png for name, png in named.items() if png is not None}
        drawings |= mine
        sections.append(_item(explanation, rows, index, mine))
    body = _head(explanation) + _choices(explanation) + _attention(explanation) + "".join(sections)
    return document(explanation.answer, body, PAGE_STYLE), drawings


def _head(explanation: Explanation) -> str:
    question = html.escape(explanation.question).replace("\n", "<br>")
    return f"<h1>{html.escape(explanation.answer) or '(no words)'}</h1><p>{question}</p>"


def _choices(explanation: Explanation) -> str:
    """How probable each token of the answer was, and what else there was."""
    rows = []
    for number, choice in enumerate(explanation.choices, 1):
        others = " ".join(f"{_token(text)} {value:.3f}" for text, value in choice.likeliest)
        rows.append([str(number), _token(choice.text), f"{choice.probability:.3f}", others])
    head = ["", "token", "probability", "likeliest"]
    return "<h2>What it might have said</h2>" + table(head, rows)


def _attention(explanation: Explanation) -> str:
    """How the attention of each word is shared out."""
    heading = "<h2>Where it looked</h2>"
    if not any(word.shares for word in explanation.words):
        return f"{heading}<p>This LLM does not tell its attention, or the answer has no words.</p>"
    items = [f"{rows.modality} {number}" for number, rows in enumerate(explanation.items, 1)]
    head = ["word", *items, "first position", "other text of the prompt", "answer so far"]
    rows = [[html.escape(word.text), *(f"{share:.1%}" for share in word.shares)] for word in explanation.words]
    return f"{heading}<p>{NOTE}</p>" + table(head, rows) + _between(explanation)


def _between(explanation: Explanation) -> str:
    """How much of each word's attention fell on each word before it, the darker the more."""
    if explanation.between is None or len(explanation.words) < 2:
        return ""
    words = [html.escape(word.text) for word in explanation.words[:MAX_WORDS]]
    shares = explanation.between[: len(words), : len(words)].tolist()
    largest = max(max(row) for row in shares) or 1.0
    cells = [
        [word, *(_shaded(share, largest) if before < number else "" for before, share in enumerate(row))]
        for number, (word, row) in enumerate(zip(words, shares, strict=True))
    ]
    return "<p>Each word's attention to the words before it:</p>" + table(["", *words], cells)


def _shaded(share: float, largest: float) -> str:
    return f"<span class='s{round(_SHADES * share / largest)}'>{share:.1%}</span>"


def _item(explanation: Explanation, rows: Rows, index: int, drawings: dict[str, bytes]) -> str:
    """One item: its drawings, and the nearest words of each of its rows."""
    name = f": {rows.source}" if isinstance(rows.source, (str, os.PathLike)) else ""
    parts = [f"<h2>{html.escape(f'{rows.modality} {index + 1}{name}')}</h2>", f"<p>{_places(rows)}</p>"]
    if len(explanation.words) > MAX_WORDS:
        parts.append(f"<p>The first {MAX_WORDS} of {len(explanation.words)} words are drawn.</p>")
    for file, png in drawings.items():
        parts.append(f"<p>{picture(png, alt=file)}</p>")
    nearest_words = [
        [str(number), *(f"{_token(text)} {cosine:.2f}" for text, cosine in nearest)]
        for number, nearest in enumerate(rows.nearest)
    ]
    head = ["row", *["nearest words, with the cosine"][: len(nearest_words)]]
    parts.append(
        f"<details open><summary>{len(nearest_words)} rows, and the words of the LLM that they are most like</summary>"
    )
    return "".join([*parts, table(head, nearest_words), "</details>"])


def _places(rows: Rows) -> str:
    """What is known of where the rows come from."""
    made = f"{rows.num_features} features of the tower became {len(rows.nearest)} rows of the LLM"
    if rows.sources is None:
        return f"{made}; each was made of all features, or nobody knows of which: they have no place in the item."
    raster = f", a raster of {rows.grid[0]} x {rows.grid[1]}" if rows.grid else ""
    return (
        f"{made}{raster}. A row's attention is shared out among the features that it was made of; where these have no "
        "place in the item, the rows are a strip in their order."
    )


def _token(text: str) -> str:
    shown = html.escape(text).replace("\n", "⏎")
    return f"<span class=token>{shown or '&nbsp;'}</span>"
