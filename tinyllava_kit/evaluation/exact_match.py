"""Exact match: the share of answers that are the truth, word for word."""

from __future__ import annotations

from collections.abc import Sequence

from .answers import Judged


def is_right(judged: Judged) -> bool:
    """Whether the answer is the truth; see `normal` for what does not count."""
    return normal(judged.said) == normal(judged.truth)


def normal(text: str) -> str:
    """Lower case, one space between words, no full stop at the end."""
    return " ".join(text.lower().split()).rstrip(".")


def accuracy(judged: Sequence[Judged]) -> float:
    """The share of right answers; 0 of none."""
    return sum(map(is_right, judged)) / max(len(judged), 1)
