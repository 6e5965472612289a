"""Pages are whole without a file beside them, take no text for their own, and need every value that they name."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from jinja2 import UndefinedError

from tests.pages.nested import Nested
from tinyllava_kit.pages import LineChart, inline, inline_file, render
from tinyllava_kit.pages.templating import style_digest

ATTACK = "</title><script>alert('1')</script>"


def test_what_a_page_quotes_is_text(own):
    chart = LineChart(title=ATTACK, unit=ATTACK, across=ATTACK, lines={ATTACK: [(1, 2)], "b": [(1, 3)]})
    shown = [inline(b"x", alt='"><script>')]
    values = {"head": [ATTACK], "rows": [[ATTACK]], "charts": [chart], "shares": {ATTACK: 0.5}, "shown": shown}
    page = Nested(own(title=ATTACK, **values))
    assert "script" not in {tag for tag, _ in page.seen}
    assert page.text.count(ATTACK) >= 7


def test_a_page_names_no_other_file_and_follows_the_readers_colours(own, tmp_path):
    (tmp_path / "a.png").write_bytes(b"picture")
    (tmp_path / "a.wav").write_bytes(b"sound")
    shown = [inline_file(tmp_path / "a.png"), inline_file(tmp_path / "a.wav")]
    text = own(shown=shown)
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


def test_the_style_of_every_page_has_the_digest_that_a_policy_names(own):
    (style,) = re.findall(r"<style>(.*?)</style>", own(), re.DOTALL)
    assert style_digest() == f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"
