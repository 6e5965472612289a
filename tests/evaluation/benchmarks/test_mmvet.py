"""MM-Vet: answers under the names that its judge looks up."""

from __future__ import annotations

import pytest

from tests.evaluation.benchmarks.layouts import asked, make_mmvet, said, write
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.benchmarks.mmvet import MMVET


def test_answers_are_named_as_the_judge_names_its_questions(tmp_path):
    make_mmvet(tmp_path)
    questions = MMVET.read(tmp_path)
    assert MMVET.converted(tmp_path, questions, said(questions, " A cat.\n", "")) == {"v1_0": " A cat.\n", "v1_1": ""}
    assert MMVET.scorers == ()  # its judge is another model


def test_a_line_without_its_picture_is_named(tmp_path):
    write(tmp_path / "mm-vet" / "llava-mm-vet.jsonl", [asked(0, "0.png", "a?"), {"question_id": 1, "text": "b?"}])
    with pytest.raises(KitError, match=r"llava-mm-vet\.jsonl\[1\]: has no 'image'; it has 'question_id', 'text'"):
        MMVET.read(tmp_path)
