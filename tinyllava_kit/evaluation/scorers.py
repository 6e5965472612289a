"""The scorers: what each wants of a row, and how it makes figures of the answers. Light."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import KitError, near
from .anls import anls
from .choice import choice
from .exact_match import exact_match
from .figures import Figure, Figures
from .judged import Judged
from .question import Question
from .vqa import PEOPLE, vqa
from .word_error import cer, wer
from .yes_no import yes_no

if TYPE_CHECKING:  # it imports torch
    from .retrieval import Retrieval


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """Figures of answers.

    Args:
        name: as in ``--scorer NAME``. `summary`: one line.
        wants: what a row must have, in words; `fits` says whether it does.
        score: the figures of a sequence of `Judged`; of a `Retrieval` where `ranks` is true, because then nothing is
            generated and every row's answer is scored as every row's.
        package: a module that it needs and that may be absent, see `extras.need`.
        lower_is_better: of the first figure: it is an error rate.
        grouped: the first figure is given again for each category of rows, where there are several.
    """

    name: str
    summary: str
    wants: str
    fits: Callable[[Question], bool]
    score: Callable[[Any], Figures]
    ranks: bool = False
    lower_is_better: bool = False
    grouped: bool = True
    package: str = ""

    def check(self, questions: Sequence[Question]) -> None:
        """
        Raises:
            KitError: a row that lacks what is wanted; names the first.
        """
        for question in questions:
            if not self.fits(question):
                raise KitError(f"{question.conversation.name}: scorer {self.name!r} wants {self.wants}")

    def figures(self, judged: Sequence[Judged]) -> Figures:
        """Of all answers, and of those of each category."""
        figures = dict(self.score(judged))
        categories = list(dict.fromkeys(j.category for j in judged))
        if self.grouped and len(categories) > 1:
            quoted = next(iter(figures))
            for category in categories:
                part = self.score([j for j in judged if j.category == category])
                figures[f"{quoted}, {category or 'other'}"] = part[quoted]
        return figures


def retrieval(found: Retrieval) -> Figures:
    """How often the own answer is first, or among the first five, and the median of its ranks."""
    count = len(found.ranks)
    shares = {f"R@{k}": Figure(found.recall(k), count) for k in (1, 5)}
    return {**shares, "median rank": Figure(found.median_rank, count, "g")}


def _has_answer(question: Question) -> bool:
    return bool(question.truths)


_ANSWER = "the right answer: the assistant's last turn, 'answer', or 'answers'"

SCORERS: Mapping[str, Scorer] = {
    scorer.name: scorer
    for scorer in (
        Scorer(
            name="exact_match",
            summary="the share of answers that are the truth, word for word",
            wants=_ANSWER,
            fits=_has_answer,
            score=exact_match,
        ),
        Scorer(
            name="vqa",
            summary="VQA accuracy: an answer counts as much as ten people agree on it",
            wants=f"the answers of {PEOPLE} people, in 'answers'",
            fits=lambda question: len(question.truths) == PEOPLE,
            score=vqa,
        ),
        Scorer(
            name="yes_no",
            summary="POPE's figures: F1 of yes, accuracy, precision, recall, yes ratio",
            wants="a right answer that is yes or no",
            fits=lambda question: bool(question.truths) and question.truths[0].strip().lower() in ("yes", "no"),
            score=yes_no,
        ),
        Scorer(
            name="choice",
            summary="the share of answers that name the letter of the right choice",
            wants="'choices', and the right one's letter, number from 0, or text in 'answer'",
            fits=lambda question: bool(question.choices and question.truths),
            score=choice,
        ),
        Scorer(
            name="anls",
            summary="how near answers come to what is written, in edits (TextVQA, DocVQA)",
            wants=_ANSWER,
            fits=_has_answer,
            score=anls,
        ),
        Scorer(
            name="wer",
            summary="word error rate of a transcript",
            wants=_ANSWER,
            fits=_has_answer,
            score=wer,
            lower_is_better=True,
            package="jiwer",
        ),
        Scorer(
            name="cer",
            summary="character error rate of a transcript",
            wants=_ANSWER,
            fits=_has_answer,
            score=cer,
            lower_is_better=True,
            package="jiwer",
        ),
        Scorer(
            name="retrieval",
            summary="which of all rows' answers the model finds likeliest, without writing one",
            wants=_ANSWER,
            fits=_has_answer,
            score=retrieval,
            ranks=True,
        ),
    )
}


def find_scorer(name: str) -> Scorer:
    """
    Raises:
        KitError: nobody of that name; gives the near ones.
    """
    if name not in SCORERS:
        raise KitError(f"no scorer is called {name!r}; {near(name, SCORERS)}")
    return SCORERS[name]
