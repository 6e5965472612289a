"""GQA: truths from the questions' own file, and predictions as its scorer reads them."""

from __future__ import annotations

import pytest

from tests.evaluation.benchmarks.layouts import make_gqa, said, write
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.benchmarks.gqa import GQA


def test_a_question_without_its_truth_is_named(tmp_path):
    make_gqa(tmp_path)
    write(tmp_path / "gqa" / "testdev_balanced_questions.json", {"200": {"answer": "yes"}})
    with pytest.raises(KitError, match=r"testdev_balanced_questions\.json: has no '201'"):
        GQA.read(tmp_path)


def test_predictions_are_in_lower_case_without_full_stops_at_their_end(tmp_path):
    make_gqa(tmp_path)
    judged = said(GQA.read(tmp_path), "Yes..", "St. Left")
    assert GQA.converted(tmp_path, [], judged) == [
        {"questionId": "200", "prediction": "yes"},
        {"questionId": "201", "prediction": "st. left"},
    ]
    assert GQA.converted(tmp_path, [], []) == []
