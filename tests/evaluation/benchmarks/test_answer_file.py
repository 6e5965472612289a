"""Answer files, as the Factory's scripts and the benchmarks' own scorers read them."""

from __future__ import annotations

import json

import pytest

from tests.evaluation.benchmarks.layouts import (
    BENCHMARKS,
    MAKE,
    said,
)
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.benchmarks.answer_file import check_answer_file, write_answers


@pytest.mark.parametrize(
    ("name", "texts", "wanted"),
    [
        (
            "gqa",
            ("Yes.", "Left"),
            [{"questionId": "200", "prediction": "yes"}, {"questionId": "201", "prediction": "left"}],
        ),
        (
            "vqav2",
            ("The two dogs.", "no"),
            [
                {"question_id": 0, "answer": "2 dogs"},
                {"question_id": 1, "answer": "no"},
                {"question_id": 7, "answer": ""},
            ],
        ),
        ("mmvet", ("It is a cat.", "5"), {"v1_0": "It is a cat.", "v1_1": "5"}),
    ],
)
def test_the_file_of_the_benchmarks_own_scorer(name, texts, wanted, tmp_path):
    MAKE[name](tmp_path)
    questions = BENCHMARKS[name].read(tmp_path)
    judged = said(questions, *texts)
    write_answers(
        tmp_path / "deep" / "out.json", questions, judged, model="m", benchmark=BENCHMARKS[name], root=tmp_path
    )
    assert json.loads((tmp_path / "deep" / "out.json").read_text()) == wanted
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["out.json"]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_lines_have_the_factorys_keys_and_the_prompt_that_its_scorers_look_up(name, tmp_path):
    MAKE[name](tmp_path)
    questions = BENCHMARKS[name].read(tmp_path)
    judged = said(questions, *["no"] * len(questions))
    write_answers(tmp_path / "a.jsonl", questions, judged, model="my-model", benchmark=BENCHMARKS[name], root=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    for line, question in zip(lines, questions, strict=True):
        assert list(line) == ["question_id", "prompt", "text", "answer_id", "model_id", "metadata"]
        assert (line["question_id"], line["text"], line["model_id"]) == (question.id, "no", "my-model")
    assert len({line["answer_id"] for line in lines}) == len(lines)
    if name in ("gqa", "pope", "textvqa", "mme", "vqav2", "mmvet"):
        (file,) = (f for f in tmp_path.rglob("llava*.jsonl") if "test2015" not in f.name)
        asked_lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert [line["prompt"] for line in lines] == [line["text"] for line in asked_lines]


@pytest.mark.parametrize(
    ("name", "target", "match"),
    [
        ("pope", "a.json", r"answers to pope are written to FILE\.jsonl, got 'a\.json'"),
        ("gqa", "a.txt", r"answers to gqa are written to FILE\.jsonl or FILE\.json, got"),
        ("mme", "a.json", r"answers to mme are written to FILE\.jsonl or a new FOLDER, got"),
        (None, "a.json", r"answers to these rows are written to FILE\.jsonl, got"),
        ("vqav2", "a.json", r"cannot read .*llava_vqav2_mscoco_test2015\.jsonl"),
    ],
)
def test_a_name_that_does_not_fit_is_refused_before_anything_is_asked(name, target, match, tmp_path):
    with pytest.raises(KitError, match=match):
        check_answer_file(target, BENCHMARKS.get(name), tmp_path)
