"""TextVQA: the question in a prompt, and what people answered."""

from __future__ import annotations

import pytest

from tests.evaluation.benchmarks.layouts import (
    SHORT,
    make_textvqa,
)
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.benchmarks.textvqa import TEXTVQA, asked_in


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        (f"What IS it?\n{SHORT}", "what is it?"),
        (f"What is it?\nReference OCR token: A, B\n{SHORT}", "what is it?"),
        (f"Reference OCR token: A, B\nWhat is it?\n{SHORT}", "what is it?"),
        ("OCR tokens: A\nQuestion: What is it? Short answer:", "what is it?"),
    ],
)
def test_the_question_is_found_in_a_prompt_of_textvqa(prompt, question):
    assert asked_in(prompt, "row") == question


def test_a_prompt_of_no_such_form_is_named():
    with pytest.raises(KitError, match="row: needs a question, a line of OCR tokens if any"):
        asked_in("What is it?", "row")


def test_a_question_that_nobody_answered_is_named(tmp_path):
    make_textvqa(tmp_path)
    questions = TEXTVQA.read(tmp_path)
    assert [q.truths for q in questions] == [("nokia",) * 10, ("ten",) * 4 + ("12",) * 6]
    file = tmp_path / "textvqa" / "llava_textvqa_val_v051_ocr.jsonl"
    file.write_text(file.read_text().replace("how old?", "how big?"))
    with pytest.raises(KitError, match=r"ocr\.jsonl\[1\]: .*val\.json has no question 'how big\?' on 'pic'"):
        TEXTVQA.read(tmp_path)
