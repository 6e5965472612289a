"""Every benchmark on small files in TinyLLaVA_Factory's layout."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import toys
from tests.evaluation.benchmarks.layouts import (
    BENCHMARKS,
    MAKE,
)
from tinyllava_kit.core.conversation import ITEM
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.benchmarks.benchmark import picture_question, read_json_lines, wanted
from tinyllava_kit.evaluation.evaluation import Evaluation
from tinyllava_kit.evaluation.scorer import find_scorer


@pytest.mark.parametrize("name", BENCHMARKS)
def test_questions_have_their_pictures_and_their_truths(name, tmp_path):
    truths = MAKE[name](tmp_path)
    questions = BENCHMARKS[name].read(tmp_path)
    assert [(q.id, q.judged("").truth) for q in questions] == truths
    for question in questions:
        (turn,) = question.conversation.turns
        assert turn.text.count(ITEM) == len(question.conversation.items)
        assert all(Path(item.source).is_file() for item in question.conversation.items)
        assert not question.conversation.items or turn.text.startswith(f"{ITEM}\n")
    for scorer in map(find_scorer, BENCHMARKS[name].scorers):
        scorer.check(questions)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_file_of_the_layout_that_is_missing_is_named(name, tmp_path):
    MAKE[name](tmp_path)
    files = [f for f in tmp_path.rglob("*.json*") if f.name != "llava_vqav2_mscoco_test2015.jsonl"]
    for file in files:
        content = file.read_text()
        file.unlink()
        with pytest.raises(KitError, match=rf"(?s){re.escape(file.name)}"):
            BENCHMARKS[name].read(tmp_path)
        file.write_text("{")
        with pytest.raises(KitError, match=rf"{re.escape(file.name)}.*not JSON"):
            BENCHMARKS[name].read(tmp_path)
        file.write_text(content)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_model_is_judged_on_it(name, tmp_path, seeing):
    MAKE[name](tmp_path)
    benchmark = BENCHMARKS[name]
    questions = benchmark.read(tmp_path)
    scorers = [find_scorer(name) for name in benchmark.scorers]
    made = Evaluation(*seeing, questions, scorers, tmp_path / "out", max_new_tokens=3)
    results = made.run()
    assert len(results.answers["as given"]) == len(questions)
    assert bool(results.figures) == bool(benchmark.scorers)
    for scorer in scorers:
        assert set(scorer.figures(results.answers["as given"])) <= set(results.figures["as given"])


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    model, processor = toys.picture_model(tmp_path_factory.mktemp("llm"))
    return model.eval(), processor


def test_a_question_without_a_picture_has_no_item_and_no_text_of_it_is_taken_for_one():
    alone = picture_question("x", f"Is {ITEM} it?", None, name="row")
    assert (alone.conversation.items, alone.conversation.turns[0].text) == ((), "Is  it?")
    with pytest.raises(KitError, match="row"):
        picture_question("x", 3, None, name="row")


@pytest.mark.parametrize(
    ("row", "has"),
    [({"a": 1, "b": None}, "it has 'a'"), ({"key": None}, "it has $"), ([1], "it has list"), ("k", "it has str")],
)
def test_a_key_that_is_not_there_is_named_with_those_that_are(row, has):
    with pytest.raises(KitError, match=f"rows\\[2\\]: has no 'key'; {has}"):
        wanted(row, "key", "rows[2]")


def test_lines_are_counted_as_the_file_has_them_and_empty_ones_are_none(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"a": 1}\n\n  \n{"a": "\u2028"}\n', encoding="utf-8")
    assert read_json_lines(file) == [{"a": 1}, {"a": "\u2028"}]
    file.write_text('{"a": 1}\n\n{\n')
    with pytest.raises(KitError, match=r"a\.jsonl.*line 3"):
        read_json_lines(file)
    with pytest.raises(KitError, match=r"no\.jsonl.*; see docs/evaluation\.md for the layout"):
        read_json_lines(tmp_path / "no.jsonl")
