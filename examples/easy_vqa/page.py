"""The demo's page: what was built, pictures with answers and controls, figures, curves, and what to type next."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from examples.page import Card, curves, shown, write_demo_page
from tinyllava_kit.evaluation import Figure, Judged, Results, is_right
from tinyllava_kit.evaluation import table as figures_table

SHOWN = 12
OTHERWISE = {"shuffled items": "with another picture", "without items": "without a picture"}
BUILT = (
    "SmolLM2-135M-Instruct reads the features of EfficientNet-Lite0 through a new connector. The LLM was trained on "
    "easy-VQA's questions in words, the connector on its pictures, on a CPU{time}. The questions and pictures below "
    "are of the test split: the model never saw them."
)
CHOSEN = "The first questions of the test; the last two are the first that it answered wrongly."


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
    write_demo_page(
        path,
        heading="A small model that learned to see",
        lead=BUILT.format(time=_time(assets / "runs")),
        cards=_cards(assets, even),
        cards_title="Questions and answers",
        cards_note=CHOSEN,
        rows=figures_table(figures, "held-out questions"),
        table_title="With the picture, and without",
        bars={name: {control: every[name].value for control, every in figures.items()} for name in figures["as given"]},
        charts=curves(assets / "runs"),
        commands=commands,
    )


def _time(runs: Path) -> str:
    """How long training took: ' in 8 minutes (words 4, answers 1, match 3)'."""
    found = sorted(runs.glob("*/training.json"), key=lambda file: file.stat().st_mtime)
    minutes = {s["name"]: s["seconds"] / 60 for s in json.loads(found[-1].read_text(encoding="utf-8"))} if found else {}
    stages = ", ".join(f"{name} {spent:.0f}" for name, spent in minutes.items())
    return f" in {sum(minutes.values()):.0f} minutes ({stages})" if minutes else ""


def _cards(assets: Path, even: Results) -> list[Card]:
    pictures = _pictures(assets)
    said = {when: {j.id: j.said for j in even.answers.get(control, ())} for control, when in OTHERWISE.items()}
    return [
        Card(
            media=shown(assets / "easy-vqa" / pictures[str(judged.id)]),
            said=judged.said,
            truth=judged.truth,
            asked=judged.question,
            is_right=is_right(judged),
            beside={when: answers[judged.id] for when, answers in said.items() if judged.id in answers},
        )
        for judged in chosen(even.answers["as given"])
    ]


def chosen(judged: Sequence[Judged]) -> list[Judged]:
    """A handful: the first wrong ones among them, so that the page does not flatter."""
    wrong = [j for j in judged if not is_right(j)][:2]
    return [*[j for j in judged if is_right(j)][: SHOWN - len(wrong)], *wrong]


def _pictures(assets: Path) -> dict[str, str]:
    rows = json.loads((assets / "easy-vqa" / "balanced.json").read_text(encoding="utf-8"))
    return {row["id"]: row["image"][0] for row in rows}
