"""The pages of the hearing demos: what was heard and seen beside the truth; the tables; the loss curves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from examples.page import Card, curves, shown, write_demo_page
from examples.speech.texts import read_rows
from tinyllava_kit.evaluation import Judged, normalise


def write_page(path: Path, assets: Path, heard: Sequence[Judged], rows: Sequence[Sequence[str]]) -> None:
    """Write the page as one file; `heard` are the first rows of the test file, in order."""
    files = [assets / "asterisk" / row["audio"] for row in read_rows(assets / "asterisk" / "test.jsonl")]
    write_demo_page(
        path,
        heading="Speech the model never heard",
        cards=[_card(judged, file) for file, judged in zip(files, heard, strict=False)],
        cards_title="Recordings and what was heard",
        rows=rows,
        table_title="With the recording, and without",
        charts=curves(assets / "hearing-runs"),
    )


def write_page_of_both(path: Path, data: Path, answered: Sequence[Judged], rows: Sequence[Sequence[str]]) -> None:
    """The page of the model that sees and hears; `data` is the folder of its rows."""
    asked = {row["id"]: row for row in json.loads((data / "test.json").read_text(encoding="utf-8"))}
    cards = []
    for judged in answered:
        row = asked[str(judged.id)]
        cards.append(_card(judged, data / row["image"][0], data / row["audio"][0], asked=judged.question))
    write_demo_page(
        path,
        heading="One model that sees and hears",
        cards=cards,
        cards_title="Pictures and sounds in one conversation",
        rows=rows,
        table_title="With them, and without",
    )


def _card(judged: Judged, *files: Path, asked: str = "") -> Card:
    return Card(media=shown(*files), said=judged.said, truth=judged.truth, asked=asked, is_right=_same(judged))


def _same(judged: Judged) -> bool:
    return normalise(judged.said) == normalise(judged.truth)
