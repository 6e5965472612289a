"""Scorers that are wrong in one way each, and the check of the contract that says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.testing.right import caught, changed, offered, passes, table
from tinyllava_kit.evaluation import Figure, Judged, Question, Scorer
from tinyllava_kit.plugin.specs import Option, ScorerSpec
from tinyllava_kit.testing import ScorerContract


def plain(text: str, folded: bool) -> str:
    return text.strip().lower() if folded else text


class Exact(Scorer):
    """The share of answers that are the truth."""

    def __init__(self, name: str, *, folded: bool = True) -> None:
        super().__init__(name)
        self.folded = folded

    def right(self, one: Judged) -> bool:
        return plain(one.said, self.folded) == plain(one.truth, self.folded)

    def score(self, judged: Sequence[Judged]) -> Any:
        return {"exact": Figure(sum(map(self.right, judged)) / max(1, len(judged)), len(judged))}


EXACT = ScorerSpec(
    name="exact",
    target=f"{__name__}:Exact",
    options=(Option(name="folded", type=bool, default=True),),
)


class ExactContract(ScorerContract):
    component = Exact
    spec = EXACT
    catalog = offered(EXACT)

    def rows(self) -> Any:
        """Right answers in capitals, too, so that folding shows."""
        return [(q, good.upper() if n % 2 else good, bad) for n, (q, good, bad) in enumerate(super().rows())]


def contract_of(scorer: type[Scorer]) -> ExactContract:
    contract = ExactContract()
    contract.component = scorer
    return contract


def rights(right: Any) -> type[Exact]:
    return changed(Exact, right=lambda self, one: right(one))


def scores(score: Any) -> type[Exact]:
    return changed(Exact, score=score)


def first_half(self: Exact, judged: Sequence[Judged]) -> Any:
    return Exact.score(self, judged[: len(judged) // 2])


def by_place(self: Exact, judged: Sequence[Judged]) -> Any:
    total = sum((n + 1) * self.right(one) for n, one in enumerate(judged))
    return {"exact": Figure(total / 10, len(judged))}


def divided(self: Exact, judged: Sequence[Judged]) -> Any:
    return {"exact": Figure(sum(map(self.right, judged)) / len(judged), len(judged))}


def adding(self: Exact, judged: Sequence[Judged]) -> Any:
    self.seen = getattr(self, "seen", 0) + 1
    return {"exact": Figure(sum(map(self.right, judged)) + self.seen, len(judged))}


def errors(self: Exact, judged: Sequence[Judged]) -> Any:
    return {"errors": Figure(1 - sum(map(self.right, judged)) / max(1, len(judged)), len(judged))}


MUTANTS: list[tuple[str, type[Scorer], str, str]] = [
    (
        "a blank counts as right",
        rights(lambda one: one.said.strip().lower() in one.truth.lower()),
        "blank",
        "count as much",
    ),
    ("everything is right", rights(lambda one: True), "right", "all right is 1, all wrong 1"),
    ("right and wrong swapped", rights(lambda one: one.said.lower() != one.truth.lower()), "right", "all right is 0"),
    ("an error rate that does not say so", scores(errors), "right", "all right is 0, all wrong 1"),
    ("half of the answers left out", scores(first_half), "figures", "counts 2 answers of 4"),
    ("answers count by their place", scores(by_place), "order", "in another order give"),
    ("state from one score to the next", scores(adding), "order", "in another order give"),
    ("divided by the number of answers", scores(divided), "none", "raised ZeroDivisionError"),
    ("a figure that is no number", scores(lambda s, j: {"exact": Figure(float("nan"), len(j))}), "figures", "is nan"),
    ("a figure that is a float", scores(lambda s, j: {"exact": 0.5}), "figures", "raised AttributeError|is a float"),
    ("no figure", scores(lambda s, j: {}), "figures", "gives no figure|raised"),
    (
        "an option that is ignored",
        rights(lambda one: one.said.lower() == one.truth.lower()),
        "options",
        "'folded' changes",
    ),
]


class TakesAll(Exact):
    def check(self, questions: Sequence[Question]) -> None:
        """Nothing is refused."""


def test_the_right_scorer_passes_every_check() -> None:
    assert passes(ExactContract()) == {}


@table(MUTANTS)
def test_a_mutant_of_the_scorer_is_caught(mutant: Any, check: str, message: str) -> None:
    caught(contract_of(mutant), check, message)


def test_one_that_refuses_no_row_is_caught() -> None:
    caught(contract_of(TakesAll), "refused", "a row without what the scorer needs: not refused")
