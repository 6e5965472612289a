"""Yes and no against POPE's own figures."""

from __future__ import annotations

import pytest

from tests.evaluation.rows import golden, judged, values
from tinyllava_kit.evaluation.yes_no import says_yes, yes_no


def test_yes_and_no_are_those_of_pope():
    known = golden("pope")
    found = values(yes_no(judged(*zip(known["labels"], known["said"], strict=True))))
    names = ("Accuracy", "Precision", "Recall", "F1 score", "Yes ratio")
    ours = ("accuracy", "precision", "recall", "F1", "yes ratio")
    for name, own in zip(names, ours, strict=True):
        assert found[own] == pytest.approx(known["figures"][name], abs=1e-6), name


@pytest.mark.parametrize(
    ("said", "yes"),
    [("Yes, it is.", True), ("No.", False), ("There is no dog", False), ("It is not", False), ("Yes. No", True)],
)
def test_an_answer_says_yes_unless_its_first_sentence_says_no(said, yes):
    assert says_yes(said) is yes


def test_nothing_is_divided_by_nothing():
    assert set(values(yes_no(judged(("no", "no")))).values()) == {0.0, 1.0}
    assert values(yes_no(judged(("no", "no"))))["F1"] == 0
