"""VQA accuracy against the challenge's own normalisation and the Factory's counts."""

from __future__ import annotations

import pytest

from tests.evaluation.rows import golden
from tinyllava_kit.evaluation.judged import Judged
from tinyllava_kit.evaluation.vqa import normal_answer, vqa, vqa_score


def test_answers_are_normalised_as_the_challenge_does():
    pairs = golden("vqa")["normal"]
    assert len(pairs) > 300
    for text, wanted in pairs:
        assert normal_answer(text) == wanted, text


def test_an_answer_counts_as_much_as_people_agree_as_the_factory_counts():
    for said, given_, wanted in golden("vqa")["scores"]:
        assert vqa_score(said, given_) == pytest.approx(wanted), (said, given_)


def test_vqa_accuracy_is_the_mean():
    people = ("red",) * 4 + ("blue",) * 6
    rows = [Judged("a", "?", people, "red"), Judged("b", "?", people, "green"), Judged("c", "?", people, "Blue.")]
    assert vqa(rows)["VQA accuracy"].value == pytest.approx((1 + 0 + 1) / 3)
