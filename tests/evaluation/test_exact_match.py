"""What counts as the truth, word for word."""

from __future__ import annotations

import pytest

from tinyllava_kit.evaluation.exact_match import accuracy, exact_match, is_right
from tinyllava_kit.evaluation.judged import Judged


@pytest.mark.parametrize(
    ("said", "truth", "right"),
    [
        ("Yes.", "yes", True),
        ("  a  red\ncircle", "A red circle.", True),
        ("yes!", "yes", False),
        ("a red", "a red circle", False),
        ("", "yes", False),
        ("No", "yes", True),
    ],
)
def test_case_spaces_and_a_full_stop_do_not_count(said, truth, right):
    assert is_right(Judged("row", "?", ("no", truth), said)) is right


def test_accuracy_is_the_share_of_right_answers():
    judged = [Judged("row", "?", ("yes",), said) for said in ("yes", "no", "Yes.")]
    assert accuracy(judged) == pytest.approx(2 / 3)
    assert accuracy([]) == 0


def test_questions_with_yes_or_no_and_open_ones_are_counted_apart_where_there_are_both():
    pairs = [("yes", "yes"), ("No.", "yes"), ("a cat", "A cat."), ("no", "no")]
    judged = [Judged(str(n), "?", (truth,), said) for n, (truth, said) in enumerate(pairs)]
    figures = exact_match(judged)
    assert {name: (figure.value, figure.count) for name, figure in figures.items()} == {
        "accuracy": (0.75, 4),
        "yes/no": (pytest.approx(2 / 3), 3),
        "open": (1.0, 1),
    }
    assert list(exact_match(judged[:2])) == list(exact_match(judged[2:3])) == ["accuracy"]
