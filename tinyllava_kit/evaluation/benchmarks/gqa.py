"""GQA, test-dev balanced (Hudson and Manning 2019). Light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..judged import Judged
from ..question import Question
from .benchmark import Benchmark, read_json, read_question_file, wanted


def _read(root: Path) -> list[Question]:
    folder = root / "gqa"
    truths = folder / "testdev_balanced_questions.json"
    known = read_json(truths)
    return [
        replace(question, truths=(wanted(wanted(known, str(question.id), str(truths)), "answer", str(truths)),))
        for _, question in read_question_file(folder / "llava_gqa_testdev_balanced.jsonl", folder / "images")
    ]


def _predictions(root: Path, questions: Sequence[Question], judged: Sequence[Judged]) -> Any:
    """``testdev_balanced_predictions.json``."""
    return [{"questionId": j.id, "prediction": j.said.rstrip(".").lower()} for j in judged]


GQA = Benchmark(
    name="gqa",
    read=_read,
    scorers=("exact_match",),
    converted=_predictions,
)
