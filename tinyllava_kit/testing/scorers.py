"""The contract of a scorer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..core.conversation import Conversation, Turn
from ..evaluation.figures import Figure, Figures
from ..evaluation.judged import Judged
from ..evaluation.question import Question
from ..evaluation.scorer import Scorer
from .comparing import check_refused, refusal
from .contract import DoesNotApply, check
from .specified import SpecifiedContract

_ROUNDING = 1e-9  # of sums in another order, beside zero
# A right answer, and a wrong one.
AnsweredRow = tuple[Question, str, str]


class ScorerContract(SpecifiedContract):
    """What holds for a scorer of answers. An author gives `rows` where none of the usual kinds of rows suits it."""

    kind = "scorer"
    takes_options: ClassVar[tuple[str, int] | None] = ("__init__", 1)

    def rows(self) -> Sequence[AnsweredRow]:
        """At least four questions, each with an answer that is right and one that is wrong.

        Default: the first kind that it fits: truths in words, yes or no, ten people's answers, letters of choices.
        """
        scorer = self.build()
        for rows in (_words(), yes_or_no(), _of_ten(), _letters()):
            if all(scorer.fits(question) for question, _, _ in rows):
                return rows
        raise NotImplementedError(f"{type(self).__name__} must give rows()")

    def build(self, **options: Any) -> Scorer:
        """The scorer; `options` are others than the contract's."""
        name = self.spec.name if self.spec else "it"
        scorer: Scorer = self.component(name, **{**self.given_options, **options})
        if scorer.ranks:
            raise DoesNotApply("it ranks answers by likelihood, and reads none")
        return scorer

    @check("score: names to Figure, finite, over as many answers as there are")
    def test_figures(self) -> None:
        """Figures are finite, and printed; the first counts the answers."""
        rows, figures = self.rows(), self._figures([True, False, True, False])
        assert figures, "it gives no figure"
        for name, figure in figures.items():
            assert isinstance(name, str), f"the name of a figure is {name!r}, expected a text"
            assert isinstance(figure, Figure), f"{name} is a {type(figure).__name__}, expected a Figure"
            assert math.isfinite(figure.value), f"{name} is {figure.value}"
            assert str(figure), f"{name} cannot be printed"
        first = next(iter(figures.values()))
        assert first.count == len(rows), f"the first figure counts {first.count} answers of {len(rows)}"

    @check("score, or lower_is_better: more right answers make the first figure better")
    def test_right(self) -> None:
        """All right is better than some, some than none, by the first figure."""
        number = len(self.rows())
        values = [self._first([n < right for n in range(number)]) for right in range(number + 1)]
        if self.build().lower_is_better:
            values = [-value for value in values]
        assert values[-1] > values[0], f"all right is {values[-1]:g}, all wrong {values[0]:g}, by the first figure"
        assert values == sorted(values), f"one more right answer makes the first figure worse: {values}"

    @check("score: an answer that says nothing is wrong")
    def test_blank(self) -> None:
        """Nothing, and a space, are no better than wrong answers, and worse than right ones."""
        sign = -1 if self.build().lower_is_better else 1
        right = sign * self._first([True] * len(self.rows()))
        for blank in ("", " \n"):
            got = sign * next(iter(self.build().score([q.judged(blank) for q, _, _ in self.rows()]).values())).value
            assert got < right, f"answers of {blank!r} count as much as right ones"

    @check("score: each answer counts by itself, wherever it is in the list")
    def test_order(self) -> None:
        """The order of answers changes no figure; nor does what was scored before."""
        judged = self._judged([n % 3 == 0 for n in range(len(self.rows()))])
        scorer = self.build()
        expected = {name: figure.value for name, figure in scorer.score(judged).items()}
        for others in (judged[::-1], judged[1:] + judged[:1], judged):
            got = {name: figure.value for name, figure in scorer.score(others).items()}
            same = got.keys() == expected.keys() and all(
                math.isclose(got[n], expected[n], abs_tol=_ROUNDING) for n in got
            )
            assert same, f"the same answers in another order give {got}, not {expected}"

    @check("fits and check: refuse a row that lacks what the scorer needs, and say so in `wants`")
    def test_refused(self) -> None:
        """A row without a right answer is refused before any is asked."""
        scorer, (question, _, _) = self.build(), self.rows()[0]
        bare = Question(id="bare", conversation=question.conversation)
        if scorer.fits(bare):
            raise DoesNotApply("it needs no right answer")
        check_refused(lambda: scorer.check([bare]), "a row without what the scorer needs", question.conversation.name)

    @check("score: figures of no answers are 0, or a KitError; nothing is divided by their number")
    def test_none(self) -> None:
        """No answers at all are no error of Python's."""
        message = refusal(lambda: self.build().score([]))
        assert "\n" not in message, f"more than one line: {message}"

    def effect(self, options: Mapping[str, Any]) -> Any:
        """The figures of answers that are half right, and of right ones."""
        scorer = self.build(**options)
        number = len(self.rows())
        asked = [self._judged([n % 2 == 0 for n in range(number)]), self._judged([True] * number)]
        return [{name: figure.value for name, figure in scorer.score(each).items()} for each in asked]

    def _judged(self, right: Sequence[bool]) -> list[Judged]:
        return [
            question.judged(good if well else bad)
            for (question, good, bad), well in zip(self.rows(), right, strict=False)
        ]

    def _figures(self, right: Sequence[bool]) -> Figures:
        return self.build().figures(self._judged(right))

    def _first(self, right: Sequence[bool]) -> float:
        return next(iter(self._figures(right).values())).value


def _question(number: int, truths: tuple[str, ...], choices: tuple[str, ...] = ()) -> Question:
    conversation = Conversation((Turn("user", f"Question {number}?"),), name=f"row {number}")
    return Question(id=number, conversation=conversation, truths=truths, choices=choices)


def _words() -> list[AnsweredRow]:
    truths = ("a red cat", "seven", "on the left", "Paris")
    return [(_question(n, (truth,)), truth, "certainly some zebra") for n, truth in enumerate(truths)]


def yes_or_no() -> list[AnsweredRow]:
    """Questions whose answer is yes or no."""
    pairs = (("yes", "no"), ("no", "yes"), ("yes", "no"), ("no", "yes"))
    return [(_question(n, (good,)), good, bad) for n, (good, bad) in enumerate(pairs)]


def _of_ten() -> list[AnsweredRow]:
    return [(_question(n, (good,) * 10), good, "zebra") for n, good in enumerate(("red", "cat", "left", "seven"))]


def _letters() -> list[AnsweredRow]:
    choices = ("red", "green", "blue")
    pairs = (("A", "B"), ("B", "C"), ("C", "A"), ("A", "C"))
    return [(_question(n, (good,), choices), good, bad) for n, (good, bad) in enumerate(pairs)]
