"""Figures: what a scorer says of many answers. Light."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A number over `count` answers; `form` is how it is printed, as in ``format``."""

    value: float
    count: int
    form: str = ".3f"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[+,]?(\.\d)?[a-z%]?", self.form):
            raise ValueError(f"form must be like '.3f', got {self.form!r}")

    def __str__(self) -> str:
        return f"{self.value:{self.form}} ({self.count})"


# Names to figures; the first is the one that is quoted.
Figures = Mapping[str, Figure]


def share(right: int, of: int) -> Figure:
    """`right` of `of`; 0 of none."""
    return Figure(right / max(of, 1), of)
