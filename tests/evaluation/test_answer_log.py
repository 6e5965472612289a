"""The log of answers: what is whole in it is known again, and what is none is named."""

from __future__ import annotations

import json

import pytest

from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.answer_log import AnswerLog

SAID = {0: {"id": "a", "said": "yes"}, 2: {"id": "c", "said": "n\u00f6\u2028"}}


def test_answers_are_known_again_under_their_control(tmp_path):
    log = AnswerLog(tmp_path / "answers.jsonl", "said")
    assert not (tmp_path / "answers.jsonl").exists()  # before the first answer
    log.add("as given", SAID)
    log.add("blank items", {1: {"said": "no"}})
    for each in (log, AnswerLog(tmp_path / "answers.jsonl", "said")):
        assert each.known("as given") == {0: "yes", 2: "n\u00f6\u2028"}
        assert each.known("blank items") == {1: "no"}
        assert each.known("without items") == {}


def test_a_later_answer_to_a_question_is_the_one_that_is_known(tmp_path):
    log = AnswerLog(tmp_path / "answers.jsonl", "said")
    log.add("as given", {0: {"said": "yes"}})
    log.add("as given", {0: {"said": "no"}})
    assert AnswerLog(tmp_path / "answers.jsonl", "said").known("as given") == log.known("as given") == {0: "no"}


def test_a_line_that_was_not_finished_is_asked_again_and_goes_with_the_next_answer(tmp_path):
    file = tmp_path / "answers.jsonl"
    AnswerLog(file, "said").add("as given", SAID)
    file.write_bytes(file.read_bytes()[:-5])
    log = AnswerLog(file, "said")
    assert log.known("as given") == {0: "yes"}
    log.add("as given", {3: {"said": "new"}})
    assert [json.loads(line)["row"] for line in file.read_text(encoding="utf-8").splitlines()] == [0, 3]


def test_answers_of_another_process_are_known_and_not_written(tmp_path):
    log = AnswerLog(tmp_path / "answers.jsonl", "said")
    log.know("as given", SAID)
    assert set(log.known("as given")) == {0, 2}
    assert not log.path.exists()


def test_ranked_answers_are_numbers(tmp_path):
    AnswerLog(tmp_path / "a.jsonl", "log_probs").add("as given", {0: {"log_probs": [-0.5, -float("inf")]}})
    assert AnswerLog(tmp_path / "a.jsonl", "log_probs").known("as given") == {0: [-0.5, -float("inf")]}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "{}",
        '{"control": "as given", "row": -1, "said": "a"}',
        '{"control": "as given", "row": 0}',
        '{"control": "as given", "row": 0, "said": 3}',
        '{"control": 1, "row": 0, "said": "a"}',
    ],
)
def test_a_line_that_is_no_answer_is_named_with_its_number(tmp_path, line):
    AnswerLog(tmp_path / "a.jsonl", "said").add("as given", {0: {"said": "a"}})
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(
        KitError, match=r"a\.jsonl line 2: not an answer of an evaluation; remove the file to ask again"
    ):
        AnswerLog(tmp_path / "a.jsonl", "said")


def test_a_log_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(
        KitError, match=r"cannot write '.*no/a\.jsonl': No such file or directory; its complete lines are kept"
    ):
        AnswerLog(tmp_path / "no" / "a.jsonl", "said").add("as given", SAID)
