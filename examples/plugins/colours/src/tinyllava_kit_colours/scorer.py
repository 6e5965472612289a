"""The scorer: which colours an answer names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tinyllava_kit.evaluation import Figure, Judged, Question, Scorer

COLOURS = frozenset(["black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown"])


class ColourNames(Scorer):
    """Right where the answer names the colours of the truth and no others."""

    wants = "a right answer that names a colour"

    def fits(self, question: Question) -> bool:
        return any(map(named, question.truths))

    def score(self, judged: Sequence[Judged]) -> Mapping[str, Figure]:
        right = sum(any(named(each.said) == named(truth) for truth in each.truths) for each in judged)
        return {"colours": Figure(right / max(len(judged), 1), len(judged))}


def named(text: str) -> frozenset[str]:
    """The colours in a text."""
    return COLOURS & frozenset(re.findall(r"[a-z]+", text.lower().replace("gray", "grey")))
