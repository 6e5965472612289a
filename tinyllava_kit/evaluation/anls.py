"""ANLS: how near answers come to the truth, in edits. Light.

Average Normalized Levenshtein Similarity (Biten et al. 2019, "Scene Text Visual Question Answering"), as in DocVQA.
"""

from __future__ import annotations

from collections.abc import Sequence

from .figures import Figure, Figures
from .judged import Judged

THRESHOLD = 0.5  # less similar answers score 0


def similarity(said: str, truth: str) -> float:
    """1 less edits by the longer text's length, without case and outer spaces; 0 where that is under `THRESHOLD`."""
    said, truth = said.lower().strip(), truth.lower().strip()
    alike = 1 - edits(said, truth) / max(len(said), len(truth), 1)
    return alike if alike >= THRESHOLD else 0.0


def edits(one: str, other: str) -> int:
    """The Levenshtein distance: how many characters are put in, taken out or exchanged."""
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        before, last = last, [row]
        for column, wanted in enumerate(other, 1):
            last.append(min(before[column] + 1, last[-1] + 1, before[column - 1] + (letter != wanted)))
    return last[-1]


def anls(judged: Sequence[Judged]) -> Figures:
    """The mean, over the answers, of the similarity to the truth that is nearest."""
    total = sum(max(similarity(j.said, truth) for truth in j.truths) for j in judged)
    return {"ANLS": Figure(total / max(len(judged), 1), len(judged))}
