"""A measured number and the goal it is held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of a benchmark. `value` is a ratio, the smaller the better; without a goal it is information.

    value: None where it could not be measured; `why` then says what happened.
    is_absent: nothing was tried, because something that it needs is not there.
    """

    name: str
    value: float | None
    goal: float | None = None
    why: str = ""
    is_absent: bool = False

    @property
    def is_short(self) -> bool:
        if self.value is None:
            return not self.is_absent
        return self.goal is not None and self.value > self.goal

    def line(self) -> str:
        """``name value goal ok|short``; a figure without a goal has two dashes, one without a value says why."""
        goal = "-" if self.goal is None else f"{self.goal:g}"
        if self.value is None:
            return f"{self.name:<44} {'-':>8} {goal:>5} {'absent' if self.is_absent else 'failed'}: {self.why}"
        state = "-" if self.goal is None else "short" if self.is_short else "ok"
        return f"{self.name:<44} {self.value:8.3f} {goal:>5} {state}"


def guarded(name: str, measure: Callable[[], float], *, goal: float | None = None) -> Figure:
    """The figure of a measurement; where that fails, one that says why, so that the others still run."""
    try:
        return Figure(name=name, value=measure(), goal=goal)
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        return Figure(name=name, value=None, goal=goal, why=f"{type(error).__name__}: {lines[0][:200]}")


def verdict(figures: Sequence[Figure]) -> str:
    """The last line: ``verdict ok``, or which figures are short."""
    short = [figure.name for figure in figures if figure.is_short]
    return f"verdict short: {', '.join(short)}" if short else "verdict ok"
