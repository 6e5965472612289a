"""A measured number and the goal it is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of a benchmark. `value` is a ratio, the smaller the better; without a goal it is information."""

    name: str
    value: float
    goal: float | None = None

    @property
    def is_short(self) -> bool:
        return self.goal is not None and self.value > self.goal

    def line(self) -> str:
        """``name value goal ok|short``; a figure without a goal has two dashes."""
        goal = "-" if self.goal is None else f"{self.goal:g}"
        state = "-" if self.goal is None else "short" if self.is_short else "ok"
        return f"{self.name:<44} {self.value:8.3f} {goal:>5} {state}"


def verdict(figures: Sequence[Figure]) -> str:
    """The last line: ``verdict ok``, or which figures are short."""
    short = [figure.name for figure in figures if figure.is_short]
    return f"verdict short: {', '.join(short)}" if short else "verdict ok"
