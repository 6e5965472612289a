"""Exact match: the share of answers that are the truth, word for word. Light."""

from __future__ import annotations

from collections.abc import Sequence

from .figures import Figures, share
from .judged import Judged

YES_NO = ("yes", "no")


def is_right(judged: Judged) -> bool:
    """Whether the answer is one of the truths; see `normal` for what does not count."""
    return normal(judged.said) in map(normal, judged.truths)


def normal(text: str) -> str:
    """Lower case, one space between words, no full stop at the end."""
    return " ".join(text.lower().split()).rstrip(".")


def accuracy(judged: Sequence[Judged]) -> float:
    """The share of right answers; 0 of none."""
    return share(sum(map(is_right, judged)), len(judged)).value


def exact_match(judged: Sequence[Judged]) -> Figures:
    """The accuracy; and where both are among them, that of questions with yes or no and that of open ones."""
    closed = [j for j in judged if normal(j.truth) in YES_NO]
    open_ = [j for j in judged if normal(j.truth) not in YES_NO]
    parts = {"accuracy": judged} | ({"yes/no": closed, "open": open_} if closed and open_ else {})
    return {name: share(sum(map(is_right, part)), len(part)) for name, part in parts.items()}
