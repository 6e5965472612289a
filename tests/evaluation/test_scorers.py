"""Scorers against the programs that they stand for, and against slow definitions."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import offering
from tinyllava_kit.core.conversation import Conversation, Turn
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.anls import anls, edits, similarity
from tinyllava_kit.evaluation.choice import choice, letter
from tinyllava_kit.evaluation.figures import Figure
from tinyllava_kit.evaluation.judged import Judged
from tinyllava_kit.evaluation.question import Question
from tinyllava_kit.evaluation.scorer import find_scorer, scorer_names
from tinyllava_kit.evaluation.tables import table
from tinyllava_kit.evaluation.vqa import normal_answer, vqa, vqa_score
from tinyllava_kit.evaluation.yes_no import says_yes, yes_no
from tinyllava_kit.training.stage_settings import Validation

GOLDEN = Path(__file__).parents[1] / "golden" / "evaluation"


def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def judged(*pairs, **more):
    return [Judged(str(n), "?", (truth,), said, **more) for n, (truth, said) in enumerate(pairs)]


def values(figures):
    return {name: figure.value for name, figure in figures.items()}


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


def test_letters_are_read_as_the_factory_reads_them():
    for said, num_choices, place in golden("scienceqa")["letters"]:
        wanted = "" if place < 0 else "ABCDE"[place]
        assert letter(said, num_choices) == wanted, said


def test_an_answer_that_names_no_choice_is_wrong():
    rows = judged(("B", "B. Mars"), ("B", "Mars"), ("A", "A"), ("C", "C"), choices=("the moon", "Mars"))
    assert values(choice(rows)) == {"accuracy": 0.5}


@cache
def slow_edits(one, other):
    if not one or not other:
        return len(one) + len(other)
    exchanged = slow_edits(one[1:], other[1:]) + (one[0] != other[0])
    return min(exchanged, slow_edits(one[1:], other) + 1, slow_edits(one, other[1:]) + 1)


short = st.text("abc", max_size=6)


@given(short, short)
def test_edits_are_those_of_the_definition(one, other):
    assert edits(one, other) == slow_edits(one, other)


@pytest.mark.parametrize(
    ("said", "truth", "wanted"),
    [
        ("STOP ", "stop", 1.0),
        ("stip", "stop", 0.75),
        ("st", "stop", 0.5),
        ("s", "stop", 0.0),
        ("", "stop", 0.0),
        ("", "", 1.0),
    ],
)
def test_what_is_less_than_half_alike_counts_as_nothing(said, truth, wanted):
    assert similarity(said, truth) == wanted


def test_anls_takes_the_nearest_truth():
    rows = [Judged("a", "?", ("stop", "halt"), "hilt"), Judged("b", "?", ("stop",), "go")]
    assert anls(rows)["ANLS"].value == pytest.approx(0.75 / 2)


def test_word_and_character_errors_are_scorers_too():
    rows = judged(("one two three", "one too three four"), ("five", "five"))
    assert values(find_scorer("wer").figures(rows)) == {"WER": 0.5, "of it inserted": 0.25}
    assert values(find_scorer("cer").figures(judged(("abcd", "abc")))) == {"CER": 0.25}


def test_the_first_figure_is_given_again_for_each_category():
    rows = [*judged(("yes", "yes"), ("no", "yes"), category="a"), *judged(("no", "no"))]
    found = find_scorer("yes_no").figures(rows)
    assert list(found)[-2:] == ["F1, a", "F1, other"]
    assert found["F1, a"] == yes_no(rows[:2])["F1"]
    assert "F1, a" not in find_scorer("yes_no").figures(rows[:2])


def test_an_unknown_scorer_gives_the_near_ones():
    with pytest.raises(KitError, match=r"no scorer is called 'exact-match'; did you mean 'exact_match'\?"):
        find_scorer("exact-match")


def question(*truths, choices=()):
    conversation = Conversation((Turn("user", "?"),), (), "rows.json[3] 'x'")
    return Question(id="x", conversation=conversation, truths=truths, choices=choices)


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


def test_a_table_has_a_row_for_each_control():
    figures = {
        control: {"accuracy": Figure(value, 3), "median rank": Figure(2.5, 3, "g")}
        for control, value in (("as given", 2 / 3), ("without items", 0.0))
    }
    assert table(figures, "rows.json") == [
        ["rows.json", "accuracy", "median rank"],
        ["as given", "0.667 (3)", "2.5 (3)"],
        ["without items", "0.000 (3)", "2.5 (3)"],
    ]


# ---- of a plugin -----------------------------------------------------------------------------------------------------

SHORTNESS = """
from tinyllava_kit.evaluation import Figure, Scorer

class Shortness(Scorer):
    wants = "any answer"
    lower_is_better = True

    def fits(self, question):
        return True

    def score(self, judged):
        return {"letters": Figure(sum(len(j.said) for j in judged) / len(judged), len(judged), "g")}
"""


def offered(site, spec):
    site.module("shortness", SHORTNESS)
    site.plugin("short", offering("tinyllava_scorers", spec))


def test_a_scorer_of_a_plugin_is_found_by_name_and_makes_figures(site):
    offered(site, "ScorerSpec(name='shortness', target='shortness:Shortness', summary='how few letters')")
    scorer = find_scorer("shortness")
    scorer.check([question()])
    assert scorer.lower_is_better
    assert values(scorer.figures(judged(("a", "bcd"), ("a", "b")))) == {"letters": 2.0}
    assert scorer_names() == ["shortness"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("name='shortness', target='shortness:Figure'", "shortness:Figure must be a class that extends evaluation.Sc"),
        ("name='shortness', target='shortness:nothing'", "scorer 'shortness': cannot import shortness:nothing"),
        (
            "name='shortness', target='shortness:Shortness', packages=('not_there',)",
            "scorer 'shortness' needs not_there; pip install not-there",
        ),
    ],
)
def test_a_scorer_that_cannot_work_is_one_line(site, spec, message):
    offered(site, f"ScorerSpec({spec})")
    with pytest.raises(KitError, match=message):
        find_scorer("shortness")


def test_a_recipe_judges_by_a_scorer_of_a_plugin(site):
    offered(site, "ScorerSpec(name='shortness', target='shortness:Shortness')")
    assert Validation(data="rows.json", scorer="shortness").lower_is_better
    with pytest.raises(ValueError, match="no scorer is called 'shortnes'; did you mean 'shortness'"):
        Validation(data="rows.json", scorer="shortnes")
