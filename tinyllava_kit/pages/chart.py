"""A chart of lines over steps, as a page draws it: round numbers at both axes, and the place of each point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# In the units of the drawing, which are pixels where it is as wide as it was made.
_WIDTH, _HEIGHT = 460, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 26, 10, 40  # outside the axes
_LINE_COLOURS = 6  # of the style sheet, which has one for each line

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A line of a chart: its points in the drawing, and what they say. `colour` numbers those of the style sheet."""

    name: str
    colour: int
    points: tuple[Point, ...]
    values: tuple[Point, ...]


@dataclass(frozen=True)
class Tick:
    """A round number, and its place along its axis in the drawing."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class LineChart:
    """Lines by name, each (x, y) in order. Templates draw it with ``parts.chart``.

    unit: of the values, for the axis. across: what the horizontal axis counts. from_zero: the axis of values begins at
    0, also where no value is near. There must be a point.
    """

    title: str
    lines: Mapping[str, Sequence[Point]]
    unit: str = ""
    across: str = "step"
    from_zero: bool = False

    width, height, left, right, top, bottom = _WIDTH, _HEIGHT, _LEFT, _WIDTH - _RIGHT, _TOP, _HEIGHT - _BOTTOM

    @property
    def x_ticks(self) -> list[Tick]:
        """The round numbers along the horizontal axis."""
        xs = self._across()
        return [Tick(self._place(x, 0, xs, (0, 1))[0], _number(x)) for x in xs]

    @property
    def y_ticks(self) -> list[Tick]:
        """The round numbers along the axis of values."""
        ys = self._up()
        return [Tick(self._place(0, y, (0, 1), ys)[1], _number(y)) for y in ys]

    @property
    def drawn(self) -> list[Line]:
        """The lines, in the order in which they were given."""
        xs, ys = self._across(), self._up()
        return [
            Line(name, number % _LINE_COLOURS, tuple(self._place(x, y, xs, ys) for x, y in points), tuple(points))
            for number, (name, points) in enumerate(self.lines.items())
        ]

    def _across(self) -> Sequence[float]:
        steps = [x for points in self.lines.values() for x, _ in points]
        return ticks(min(steps), max(steps))

    def _up(self) -> Sequence[float]:
        values = [y for points in self.lines.values() for _, y in points]
        return ticks(min([*values, *([0.0] if self.from_zero else [])]), max(values))

    def _place(self, x: float, y: float, xs: Sequence[float], ys: Sequence[float]) -> Point:
        along, up = (x - xs[0]) / (xs[-1] - xs[0]), (y - ys[0]) / (ys[-1] - ys[0])
        return (
            round(self.left + along * (self.right - self.left), 1),
            round(self.bottom - up * (self.bottom - self.top), 1),
        )


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from the one below `low` to the one above `high`, evenly spaced.

    Example:
        >>> ticks(0.37, 2.2)
        [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
        >>> ticks(3, 3)
        [1.0, 2.0, 3.0, 4.0, 5.0]
    """
    if not high > low:
        low, high = low - (abs(low) / 2 or 1), high + (abs(high) / 2 or 1)
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (power * factor) <= most - 1)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.10g}") for number in range(first, last + 1)]


def _number(value: float) -> str:
    """As one reads it: 20,000 and 0.0005, but 2e-06.

    Example:
        >>> [_number(value) for value in (20000.0, 0.0005, 2e-6, -1.5)]
        ['20,000', '0.0005', '2e-06', '-1.5']
    """
    return f"{value:,.0f}" if abs(value) >= 1000 and value == round(value) else f"{value:g}"
