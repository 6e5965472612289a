"""ScienceQA: letters of choices, with and without pictures."""

from __future__ import annotations

import json

import pytest

from tests.evaluation.benchmarks.layouts import (
    BENCHMARKS,
    make_scienceqa,
    said,
    write,
)
from tinyllava_kit.core.conversation import ITEM
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.benchmarks.answer_file import write_answers
from tinyllava_kit.evaluation.scorer import find_scorer

LETTER = "Answer with the option's letter from the given choices directly."


def test_scienceqa_asks_for_a_letter_and_keeps_its_placeholder_for_its_scorer(tmp_path):
    make_scienceqa(tmp_path)
    questions = BENCHMARKS["scienceqa"].read(tmp_path)
    assert [q.conversation.turns[0].text for q in questions] == [
        f"{ITEM}\nWhich? (A) a (B) b\n{LETTER}",
        f"Which? (A) c (B) d (C) e\n{LETTER}",
    ]
    write_answers(
        tmp_path / "a.jsonl", questions, said(questions, "B", "B"), model="m", benchmark=BENCHMARKS["scienceqa"]
    )
    prompts = [json.loads(line)["prompt"] for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert ["<image>" in prompt for prompt in prompts] == [True, False]
    (scorer,) = map(find_scorer, BENCHMARKS["scienceqa"].scorers)
    figures = scorer.figures(said(questions, "B", "B"))
    assert {name: (f.value, f.count) for name, f in figures.items()} == {
        "accuracy": (0.5, 2),
        "accuracy, with a picture": (1.0, 1),
        "accuracy, text alone": (0.0, 1),
    }


@pytest.mark.parametrize("right", [-1, 2])
def test_an_answer_that_is_none_of_the_choices_is_named(tmp_path, right):
    make_scienceqa(tmp_path)
    problems = {"5": {"choices": ["a", "b"], "answer": right}}
    write(tmp_path / "scienceqa" / "problems.json", problems)
    with pytest.raises(KitError, match=rf"problems\.json: 5: the answer {right} is none of 2 choices"):
        BENCHMARKS["scienceqa"].read(tmp_path)
