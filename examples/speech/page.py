"""The page of the hearing demo: recordings to play, with what was heard and the truth; the table; the loss curves."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from examples.page import curves, document, table
from examples.speech.texts import read_rows
from tinyllava_kit.evaluation.answers import Judged
from tinyllava_kit.evaluation.word_error import normalise


def write_page(path: Path, assets: Path, heard: Sequence[Judged], rows: Sequence[Sequence[str]]) -> None:
    """Write the page as one file; `heard` are the first rows of the test file, in order."""
    files = [assets / "asterisk" / row["audio"] for row in read_rows(assets / "asterisk" / "test.jsonl")]
    cards = "".join(_card(file, judged) for file, judged in zip(files, heard, strict=False))
    body = (
        f"{table(rows)}<h2>Recordings and what was heard</h2><div class=cards>{cards}</div>"
        f"<h2>Training loss</h2>{curves(assets / 'hearing-runs')}"
    )
    path.write_text(document("Hearing", "Speech the model never heard", body), encoding="utf-8")


def _card(file: Path, judged: Judged) -> str:
    source = "data:audio/wav;base64," + base64.b64encode(file.read_bytes()).decode()
    mark = "" if normalise(judged.said) == normalise(judged.truth) else " wrong"
    return (
        f"<div class='card{mark}'><audio controls src='{source}'></audio><p><b>{html.escape(judged.said)}</b>"
        f"<br>(truth: {html.escape(judged.truth)})</p></div>"
    )
