"""Pages are whole without a file beside them, take no text for their own, and their charts have axes that read."""

from __future__ import annotations

import doctest
import re
from html.parser import HTMLParser

import pytest
from jinja2 import UndefinedError

from tinyllava_kit.pages import LineChart, inline, inline_file, render
from tinyllava_kit.pages import chart as chart_module

ATTACK = "</title><script>alert('1')</script>"


class Nested(HTMLParser):
    """Fails where tags do not nest; keeps them, and the text."""

    void = ("meta", "img")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def templates(tmp_path):
    (tmp_path / "own.html").write_text(
        '{% extends "page.html" %}{% import "parts.html" as parts %}{% block body %}'
        "{{ parts.table(head, rows) }}{% for each in shown %}{{ parts.media(each) }}{% endfor %}"
        "{% for each in charts %}{{ parts.chart(each) }}{% endfor %}{{ parts.bars(title, shares) }}{% endblock %}"
    )
    return tmp_path


def own(templates, **values):
    given = {"title": "a", "head": ["a"], "rows": [["b"]], "shown": [], "charts": [], "shares": {"as given": 0.5}}
    return render("own.html", templates=templates, **{**given, **values})


def test_what_a_page_quotes_is_text(templates):
    chart = LineChart(title=ATTACK, unit=ATTACK, across=ATTACK, lines={ATTACK: [(1, 2)], "b": [(1, 3)]})
    shown = [inline(b"x", alt='"><script>')]
    values = {"head": [ATTACK], "rows": [[ATTACK]], "charts": [chart], "shares": {ATTACK: 0.5}, "shown": shown}
    page = Nested(own(templates, title=ATTACK, **values))
    assert "script" not in {tag for tag, _ in page.seen}
    assert page.text.count(ATTACK) >= 7


def test_a_page_names_no_other_file_and_follows_the_readers_colours(templates, tmp_path):
    (tmp_path / "a.png").write_bytes(b"picture")
    (tmp_path / "a.wav").write_bytes(b"sound")
    shown = [inline_file(tmp_path / "a.png"), inline_file(tmp_path / "a.wav")]
    text = own(templates, shown=shown)
    page = Nested(text)
    sources = {tag: attrs["src"] for tag, attrs in page.seen if "src" in attrs}
    assert sources["img"] == "data:image/png;base64,cGljdHVyZQ=="
    assert re.fullmatch(r"data:audio/(x-)?wav;base64,c291bmQ=", sources["audio"] or "")
    assert not re.search(r"https?://|@import|url\(", text)
    assert "color-scheme: light dark" in text
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.seen
    assert inline_file(tmp_path / "own.html") is None


def test_a_value_that_a_template_names_must_be_given():
    with pytest.raises(UndefinedError, match="'title' is undefined"):
        render("page.html")


def test_a_chart_places_its_points_between_round_numbers(templates):
    chart = LineChart(title="loss", lines={"one": [(0, 0.0), (10, 1.0)], "two": [(5, 0.5)]})
    (first, last), (middle,) = (line.points for line in chart.drawn)
    assert first == (chart.left, chart.bottom)
    assert last == (chart.right, chart.top)
    assert middle == ((chart.left + chart.right) / 2, (chart.top + chart.bottom) / 2)
    assert [tick.text for tick in chart.x_ticks] == ["0", "2", "4", "6", "8", "10"]
    page = Nested(own(templates, charts=[chart]))
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
