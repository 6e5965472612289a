"""What a scorer is: what it needs of a row, and how it makes figures of the answers. Light."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from ..errors import KitError
from ..plugin.discovery import installed_catalog
from ..plugin.extras import need
from ..plugin.specs import ScorerSpec, load_class
from .figures import Figures
from .judged import Judged
from .question import Question


class Scorer(ABC):
    """Figures of answers. A spec names a class of these; see `ScorerSpec`.

    Args:
        name: as in ``--scorer NAME``; for messages.
    """

    # What a row must have, in words; `fits` says whether it does.
    wants: ClassVar[str] = "the right answer: the assistant's last turn, 'answer', or 'answers'"
    # Of the first figure: it is an error rate.
    lower_is_better: ClassVar[bool] = False
    # The first figure is given again for each category of rows, where there are several.
    grouped: ClassVar[bool] = True
    # Every row's answer is scored as every row's, and none is generated.
    ranks: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        self.name = name

    def fits(self, question: Question) -> bool:
        """Whether a row has what the scorer needs. Default: a right answer."""
        return bool(question.truths)

    @abstractmethod
    def score(self, judged: Any) -> Figures:
        """The figures of a sequence of `Judged`, by their names; the first is the one that is quoted.

        Of a `Retrieval` where `ranks` is true, because then nothing is generated.
        """

    def check(self, questions: Sequence[Question]) -> None:
        """Check, before any answer, that every question has what this scorer compares with.

        Raises:
            KitError: a row lacks what the scorer needs; names the first.
        """
        for question in questions:
            if not self.fits(question):
                raise KitError(f"{question.conversation.name}: scorer {self.name!r} needs {self.wants}")

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


def find_scorer(name: str) -> Scorer:
    """An installed scorer, with the defaults of its options.

    Raises:
        KitError: nobody offers it, with the near ones; a package of it is missing; or it is no scorer.
    """
    spec = installed_catalog().find(ScorerSpec.kind, name).spec
    assert isinstance(spec, ScorerSpec)
    for package in spec.packages:
        need(package, f"scorer {spec.name!r}")
    return load_class(spec, Scorer, "evaluation.Scorer")(spec.name)  # type: ignore[type-abstract]


def scorer_names() -> list[str]:
    """Those of the installed scorers."""
    return installed_catalog().names(ScorerSpec.kind)
