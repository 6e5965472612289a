"""MME: two questions on every picture, and the sums of its subtasks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.evaluation.benchmarks.layouts import (
    BENCHMARKS,
    make_mme,
    said,
)
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.benchmarks.answer_file import check_answer_file, write_answers
from tinyllava_kit.evaluation.scorer import find_scorer


def test_mme_is_the_sum_of_accuracy_and_of_pictures_with_both_right(tmp_path):
    make_mme(tmp_path)
    mme = BENCHMARKS["mme"]
    questions = mme.read(tmp_path)
    (scorer,) = map(find_scorer, mme.scorers)
    both, one = said(questions, "Yes, it is", "no", "yes"), said(questions, "it is", "No.", "No")
    assert {name: f.value for name, f in scorer.figures(both).items()} == {
        "perception": 200.0,
        "cognition": 0.0,
        "color": 200.0,
        "artwork": 0.0,
    }
    assert {name: f.value for name, f in scorer.figures(one).items()} == {
        "perception": 250.0,
        "cognition": 0.0,
        "color": 50.0,
        "artwork": 200.0,
    }
    cognitive = [replace(j, category="code_reasoning") for j in both[:2]]
    assert scorer.figures(cognitive)["cognition"].value == 200.0


def test_mme_writes_a_file_for_each_subtask_with_the_benchmarks_own_questions(tmp_path):
    make_mme(tmp_path)
    mme = BENCHMARKS["mme"]
    questions = mme.read(tmp_path)
    out = tmp_path / "answers" / "model"
    write_answers(out, questions, said(questions, "Yes\nit is", "no", "no"), model="m", benchmark=mme, root=tmp_path)
    assert {file.name: file.read_text() for file in out.iterdir()} == {
        "color.txt": "0.txt\tIs it red? Please answer yes or no.\tYes\tYes it is\n"
        "0.txt\tIs it blue?  Please answer yes or no.\tNo\tno\n",
        "artwork.txt": "0.txt\tIs it shown? Please answer yes or no.\tNo\tno\n",
    }
    with pytest.raises(KitError, match="mme needs a new folder for its answers"):
        check_answer_file(out, mme, tmp_path)


def test_a_question_that_mmes_files_do_not_have_is_named(tmp_path):
    make_mme(tmp_path)
    (tmp_path / "MME" / "MME_Benchmark_release_version" / "color" / "0.txt").write_text("")
    with pytest.raises(KitError, match=r"llava_mme\.jsonl\[0\]: no answer to 'Is it red\? Please"):
        BENCHMARKS["mme"].read(tmp_path)
