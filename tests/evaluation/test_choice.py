"""Letters of choices, as the Factory reads them."""

from __future__ import annotations

from tests.evaluation.rows import golden, judged, values
from tinyllava_kit.evaluation.choice import choice, letter


def test_letters_are_read_as_the_factory_reads_them():
    for said, num_choices, place in golden("scienceqa")["letters"]:
        wanted = "" if place < 0 else "ABCDE"[place]
        assert letter(said, num_choices) == wanted, said


def test_an_answer_that_names_no_choice_is_wrong():
    rows = judged(("B", "B. Mars"), ("B", "Mars"), ("A", "A"), ("C", "C"), choices=("the moon", "Mars"))
    assert values(choice(rows)) == {"accuracy": 0.5}
