"""The pages of the hearing demos: what was heard and seen beside the truth; the tables; the loss curves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from examples.page import card, curves, document, shown, table
from examples.speech.texts import read_rows
from tinyllava_kit.evaluation import Judged, normalise


def write_page(path: Path, assets: Path, heard: Sequence[Judged], rows: Sequence[Sequence[str]]) -> None:
    """Write the page as one file; `heard` are the first rows of the test file, in order."""
    files = [assets / "asterisk" / row["audio"] for row in read_rows(assets / "asterisk" / "test.jsonl")]
    cards = "".join(_card(file, judged) for file, judged in zip(files, heard, strict=False))
    body = (
        f"{table(rows)}<h2>Recordings and what was heard</h2><div class=cards>{cards}</div>"
        f"<h2>Training loss</h2>{curves(assets / 'hearing-runs')}"
    )
    path.write_text(document("Hearing", "Speech the model never heard", body), encoding="utf-8")


def write_page_of_both(path: Path, data: Path, answered: Sequence[Judged], rows: Sequence[Sequence[str]]) -> None:
    """The page of the model that sees and hears; `data` is the folder of its rows."""
    asked = {row["id"]: row for row in json.loads((data / "test.json").read_text(encoding="utf-8"))}
    cards = ""
    for judged in answered:
        row = asked[str(judged.id)]
        media = shown(data / row["image"][0]) + shown(data / row["audio"][0])
        cards += card(media, judged.said, judged.truth, asked=judged.question, right=_same(judged))
    body = f"{table(rows)}<h2>Pictures and sounds in one conversation</h2><div class=cards>{cards}</div>"
    path.write_text(document("Seeing and hearing", "One model that sees and hears", body), encoding="utf-8")


def _card(file: Path, judged: Judged) -> str:
    return card(shown(file), judged.said, judged.truth, right=_same(judged))


def _same(judged: Judged) -> bool:
    return normalise(judged.said) == normalise(judged.truth)
