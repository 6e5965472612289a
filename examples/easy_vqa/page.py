"""The demo's page: pictures with question, answer and truth; the accuracy table; the loss curves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from examples.page import card, curves, document, shown, table
from tinyllava_kit.evaluation import Judged, is_right


def write_page(path: Path, assets: Path, answers: Sequence[Judged], rows: Sequence[Sequence[str]]) -> None:
    """Write the page as one file."""
    cards = "".join(_card(assets, judged) for judged in answers)
    body = (
        f"{table(rows)}<h2>Questions and answers</h2><div class=cards>{cards}</div>"
        f"<h2>Training loss</h2>{curves(assets / 'runs')}"
    )
    path.write_text(document("easy-VQA", "easy-VQA: pictures the model never saw", body), encoding="utf-8")


def _card(assets: Path, judged: Judged) -> str:
    seen = shown(assets / "easy-vqa" / _pictures(assets)[str(judged.id)])
    return card(seen, judged.said, judged.truth, asked=judged.question, right=is_right(judged))


def _pictures(assets: Path) -> dict[str, str]:
    return {row["id"]: row["image"][0] for row in json.loads((assets / "easy-vqa" / "test.json").read_text())}
