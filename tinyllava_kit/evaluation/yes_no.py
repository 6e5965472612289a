"""Yes or no: how often the model says yes where it is right, and where it is not. Light.

The figures of POPE (Li et al. 2023, "Evaluating Object Hallucination in Large Vision-Language Models").
"""

from __future__ import annotations

from collections.abc import Sequence

from .figures import Figure, Figures
from .judged import Judged


def says_yes(text: str) -> bool:
    """As POPE reads an answer: yes, unless its first sentence has the word "No", "no" or "not"."""
    words = text.partition(".")[0].replace(",", "").split(" ")
    return not {"No", "no", "not"} & set(words)


def yes_no(judged: Sequence[Judged]) -> Figures:
    """F1 of "yes", accuracy, precision, recall, and the share of answers that say yes; 0 where nothing is divided."""
    said = [says_yes(j.said) for j in judged]
    true = [j.truth.strip().lower() == "yes" for j in judged]
    both = sum(s and t for s, t in zip(said, true, strict=True))
    precision, recall = _ratio(both, sum(said)), _ratio(both, sum(true))
    values = {
        "F1": _ratio(2 * precision * recall, precision + recall),
        "accuracy": _ratio(sum(s == t for s, t in zip(said, true, strict=True)), len(judged)),
        "precision": precision,
        "recall": recall,
        "yes ratio": _ratio(sum(said), len(judged)),
    }
    return {name: Figure(value, len(judged)) for name, value in values.items()}


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
