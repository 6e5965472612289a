"""The scorers that the kit ships. Light."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .anls import anls
from .choice import choice
from .exact_match import exact_match
from .figures import Figure, Figures
from .judged import Judged
from .question import Question
from .scorer import Scorer
from .vqa import PEOPLE, vqa
from .word_error import cer, wer
from .yes_no import yes_no

if TYPE_CHECKING:  # it imports torch
    from .retrieval import Retrieval


class ExactMatch(Scorer):
    """The share of answers that are the truth."""

    def score(self, judged: Sequence[Judged]) -> Figures:
        return exact_match(judged)


class VqaAccuracy(Scorer):
    """As much as ten people agree."""

    wants = f"the answers of {PEOPLE} people, in 'answers'"

    def fits(self, question: Question) -> bool:
        return len(question.truths) == PEOPLE

    def score(self, judged: Sequence[Judged]) -> Figures:
        return vqa(judged)


class YesNo(Scorer):
    """POPE's figures."""

    wants = "a right answer that is yes or no"

    def fits(self, question: Question) -> bool:
        return bool(question.truths) and question.truths[0].strip().lower() in ("yes", "no")

    def score(self, judged: Sequence[Judged]) -> Figures:
        return yes_no(judged)


class ChosenLetter(Scorer):
    """The letter of the right choice."""

    wants = "'choices', and the right one's letter, number from 0, or text in 'answer'"

    def fits(self, question: Question) -> bool:
        return bool(question.choices and question.truths)

    def score(self, judged: Sequence[Judged]) -> Figures:
        return choice(judged)


class Anls(Scorer):
    """Nearness in edits."""

    def score(self, judged: Sequence[Judged]) -> Figures:
        return anls(judged)


class WordErrorRate(Scorer):
    """Of a transcript."""

    lower_is_better = True

    def score(self, judged: Sequence[Judged]) -> Figures:
        return wer(judged)


class CharacterErrorRate(Scorer):
    """Of a transcript."""

    lower_is_better = True

    def score(self, judged: Sequence[Judged]) -> Figures:
        return cer(judged)


class RetrievalRank(Scorer):
    """How often the own answer is first, or among the first five, and the median of its ranks."""

    ranks = True

    def score(self, judged: Retrieval) -> Figures:
        count = len(judged.ranks)
        shares = {f"R@{k}": Figure(judged.recall(k), count) for k in (1, 5)}
        return {**shares, "median rank": Figure(judged.median_rank, count, "g")}
