"""Charts have axes that read, and their curves lie within them."""

from __future__ import annotations

import doctest
from itertools import pairwise

import pytest

from tests.pages.nested import Nested
from tinyllava_kit.pages import LineChart
from tinyllava_kit.pages import chart as chart_module
from tinyllava_kit.pages.chart import ticks


def test_a_chart_places_its_points_between_round_numbers(own):
    chart = LineChart(title="loss", lines={"one": [(0, 0.0), (10, 1.0)], "two": [(5, 0.5)]})
    (first, last), (middle,) = (line.points for line in chart.drawn)
    assert first == (chart.left, chart.bottom)
    assert last == (chart.right, chart.top)
    assert middle == ((chart.left + chart.right) / 2, (chart.top + chart.bottom) / 2)
    assert [tick.text for tick in chart.x_ticks] == ["0", "2", "4", "6", "8", "10"]
    page = Nested(own(charts=[chart]))
    assert [attrs["class"] for tag, attrs in page.seen if tag == "g"] == ["line-0", "line-1"]
    assert "two: 0.5 at step 5" in page.text


@pytest.mark.parametrize(("from_zero", "lowest"), [(True, "0"), (False, "0.9")])
def test_values_far_from_zero_may_begin_there(from_zero, lowest):
    chart = LineChart(title="a", lines={"a": [(1, 0.9), (2, 1.0)]}, from_zero=from_zero)
    assert chart.y_ticks[0].text == lowest


@pytest.mark.parametrize("points", [[(7, 3.0)], [(1, 0.0), (2, 0.0)], [(1, -2.0), (9, 1e9)], [(1, 1e-7), (3, 2e-7)]])
def test_every_curve_lies_within_its_axes(points):
    chart = LineChart(title="a", lines={"a": points})
    assert len(chart.x_ticks) >= 2
    assert len(chart.y_ticks) >= 2
    for x, y in chart.drawn[0].points:
        assert chart.left <= x <= chart.right
        assert chart.top <= y <= chart.bottom


def test_the_examples_of_charts_are_right():
    assert doctest.testmod(chart_module).failed == 0


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.37, 2.2), (-3, 3), (3, 3), (0, 0), (-5, -5), (1e-7, 2e-7), (-2, 1e9), (999, 1001)]
)
def test_ticks_are_evenly_spaced_round_numbers_around_all_values(low, high):
    found = ticks(low, high)
    steps = [b - a for a, b in pairwise(found)]
    assert found[0] <= low <= high <= found[-1]
    assert 2 <= len(found) <= 8
    assert steps == pytest.approx([steps[0]] * len(steps))
    assert f"{steps[0]:.10e}"[0] in "125"


def test_colours_begin_again_where_there_are_more_lines():
    chart = LineChart(title="a", lines={str(n): [(n, n)] for n in range(8)})
    assert [line.colour for line in chart.drawn] == [0, 1, 2, 3, 4, 5, 0, 1]
    assert chart.drawn[7].values == ((7, 7),)
