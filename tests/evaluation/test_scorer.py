"""A scorer: found by its name, a plugin's as the kit's own, and its figures of each category."""

from __future__ import annotations

import pytest

from tests.evaluation.rows import judged, question, values
from tests.fakes import offering
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.scorer import find_scorer, scorer_names
from tinyllava_kit.evaluation.yes_no import yes_no
from tinyllava_kit.training.stage_settings import Validation


def test_the_first_figure_is_given_again_for_each_category():
    rows = [*judged(("yes", "yes"), ("no", "yes"), category="a"), *judged(("no", "no"))]
    found = find_scorer("yes_no").figures(rows)
    assert list(found)[-2:] == ["F1, a", "F1, other"]
    assert found["F1, a"] == yes_no(rows[:2])["F1"]
    assert "F1, a" not in find_scorer("yes_no").figures(rows[:2])


def test_an_unknown_scorer_gives_the_near_ones():
    with pytest.raises(KitError, match=r"no scorer is called 'exact-match'; did you mean 'exact_match'\?"):
        find_scorer("exact-match")


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
