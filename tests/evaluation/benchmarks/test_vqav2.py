"""VQAv2: what its server takes has an answer to every question of the whole split."""

from __future__ import annotations

import pytest

from tests.evaluation.benchmarks.layouts import make_vqav2, said, write
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.benchmarks.vqav2 import VQAV2


def test_answers_are_normal_and_questions_of_the_split_that_were_not_asked_have_none(tmp_path):
    make_vqav2(tmp_path)
    questions = VQAV2.read(tmp_path)
    assert [question.id for question in questions] == [0, 1]  # of test-dev alone
    answers = {
        line["question_id"]: line["answer"] for line in VQAV2.converted(tmp_path, [], said(questions[1:], "A dog!"))
    }
    assert answers == {0: "", 1: "dog", 7: ""}


def test_a_line_of_the_split_without_a_number_is_named(tmp_path):
    make_vqav2(tmp_path)
    write(tmp_path / "vqav2" / "llava_vqav2_mscoco_test2015.jsonl", [{"question_id": 0}, {"text": "b?"}])
    with pytest.raises(KitError, match=r"test2015\.jsonl\[1\]: has no 'question_id'; it has 'text'"):
        VQAV2.converted(tmp_path, [], [])
