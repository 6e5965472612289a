"""Scorers against the programs that they stand for, and against slow definitions."""

from __future__ import annotations

import pytest

from tests.evaluation.rows import judged, question, values
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.scorer import find_scorer, scorer_names


def test_word_and_character_errors_are_scorers_too():
    rows = judged(("one two three", "one too three four"), ("five", "five"))
    assert values(find_scorer("wer").figures(rows)) == {"WER": 0.5, "of it inserted": 0.25}
    assert values(find_scorer("cer").figures(judged(("abcd", "abc")))) == {"CER": 0.25}


@pytest.mark.parametrize("name", scorer_names())
def test_a_row_that_lacks_what_a_scorer_wants_is_named(name):
    with pytest.raises(KitError, match=rf"rows\.json\[3\] 'x': scorer '{name}' needs "):
        find_scorer(name).check([question()])


@pytest.mark.parametrize(
    ("name", "fine", "short_of_it"),
    [
        ("vqa", question(*["a"] * 10), question(*["a"] * 9)),
        ("yes_no", question("Yes"), question("maybe")),
        ("choice", question("A", choices=("x",)), question("A")),
    ],
)
def test_what_a_scorer_wants_is_enough_and_needed(name, fine, short_of_it):
    find_scorer(name).check([fine])
    with pytest.raises(KitError, match=f"scorer '{name}' needs"):
        find_scorer(name).check([fine, short_of_it])
