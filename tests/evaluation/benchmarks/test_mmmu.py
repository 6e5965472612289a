"""MMMU: choices and open answers, judged as MMMU judges."""

from __future__ import annotations

import json

import pytest

from tests.evaluation.benchmarks.layouts import (
    make_mmmu,
    said,
)
from tests.evaluation.rows import golden
from tinyllava_kit.evaluation.benchmarks.answer_file import write_answers
from tinyllava_kit.evaluation.benchmarks.mmmu import MMMU, chosen, is_right
from tinyllava_kit.evaluation.judged import Judged
from tinyllava_kit.evaluation.scorer import find_scorer


def test_letters_and_open_answers_of_mmmu_are_judged_as_mmmu_judges():
    known = golden("mmmu")
    for text, wanted in known["chosen"]:
        assert chosen(text, known["choices"]) == wanted, text
    assert {right for *_, right in known["open"]} == {True, False}
    for text, truth, right in known["open"]:
        truths = tuple(truth) if isinstance(truth, list) else (truth,)
        assert is_right(Judged("x", "?", truths, text)) is right, (text, truth)


def test_mmmu_counts_choices_and_open_answers_and_writes_the_letter(tmp_path):
    make_mmmu(tmp_path)
    questions = MMMU.read(tmp_path)
    assert not questions[1].conversation.items
    judged = said(questions, "I say (B).", "none", "it is a dozen.")
    (scorer,) = map(find_scorer, MMMU.scorers)
    figures = scorer.figures(judged)
    assert {name: (f.value, f.count) for name, f in figures.items()} == {
        "accuracy": (pytest.approx(2 / 3), 3),
        "multiple choice": (0.5, 2),
        "open": (1.0, 1),
    }
    write_answers(tmp_path / "out.json", questions, judged, model="m", benchmark=MMMU)
    written = json.loads((tmp_path / "out.json").read_text())
    assert list(written.values()) == ["B", "none", "it is a dozen."]
    write_answers(tmp_path / "out.jsonl", questions, judged, model="m", benchmark=MMMU)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {line["question_id"]: line["text"] for line in lines} == written
