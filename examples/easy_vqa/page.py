"""The demo's page: what was built, pictures with answers and controls, figures, curves, and what to type next."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from examples.page import bars, card, curves, document, shown, table
from tinyllava_kit.evaluation import Figure, Judged, Results, is_right
from tinyllava_kit.evaluation import table as figures_table

SHOWN = 12
OTHERWISE = {"shuffled items": "with another picture", "without items": "without a picture"}
BUILT = (
    "SmolLM2-135M-Instruct reads the features of EfficientNet-Lite0 through a new connector, which was trained on "
    "easy-VQA on a CPU: {stages}. The questions and pictures below are of its test split, and the model never saw them."
)


def write_page(
    path: Path,
    assets: Path,
    even: Results,
    figures: Mapping[str, Mapping[str, Figure]],
    commands: Sequence[str],
) -> None:
    """Write the page as one file.

    Args:
        even: of the balanced questions; the first wrong answers are among those that are shown.
        figures: of every control.
        commands: what to type next.
    """
    names = list(figures["as given"])
    charts = "".join(bars(name, {control: every[name].value for control, every in figures.items()}) for name in names)
    body = (
        f"<p>{html.escape(BUILT.format(stages=_stages(assets / 'runs')))}</p>"
        f"<h2>Questions and answers</h2><div class=cards>{_cards(assets, even)}</div>"
        f"<h2>With the picture, and without</h2>{table(figures_table(figures, 'held-out questions'))}{charts}"
        f"<h2>Training loss</h2>{curves(assets / 'runs')}"
        f"<h2>Try it</h2><pre>{html.escape(chr(10).join(commands))}</pre>"
    )
    path.write_text(document("easy-VQA", "A small model that learned to see", body), encoding="utf-8")


def _stages(runs: Path) -> str:
    """How long each stage took: 'words 61 s'."""
    found = sorted(runs.glob("*/training.json"), key=lambda file: file.stat().st_mtime)
    last = json.loads(found[-1].read_text(encoding="utf-8")) if found else []
    return ", ".join(f"stage {stage['name']} took {stage['seconds']:.0f} s" for stage in last)


def _cards(assets: Path, even: Results) -> str:
    pictures = _pictures(assets)
    said = {when: {j.id: j.said for j in even.answers.get(control, ())} for control, when in OTHERWISE.items()}
    cards = ""
    for judged in chosen(even.answers["as given"]):
        beside = {when: answers[judged.id] for when, answers in said.items() if judged.id in answers}
        media = shown(assets / "easy-vqa" / pictures[str(judged.id)])
        cards += card(media, judged.said, judged.truth, asked=judged.question, right=is_right(judged), beside=beside)
    return cards


def chosen(judged: Sequence[Judged]) -> list[Judged]:
    """A handful: the first wrong ones among them, so that the page does not flatter."""
    wrong = [j for j in judged if not is_right(j)][:2]
    return [*[j for j in judged if is_right(j)][: SHOWN - len(wrong)], *wrong]


def _pictures(assets: Path) -> dict[str, str]:
    rows = json.loads((assets / "easy-vqa" / "balanced.json").read_text(encoding="utf-8"))
    return {row["id"]: row["image"][0] for row in rows}
