"""A template of one's own that shows all that pages have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tinyllava_kit.pages import render


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    """The folder of it."""
    (tmp_path / "own.html").write_text(
        '{% extends "page.html" %}{% import "parts.html" as parts %}{% block body %}'
        "{{ parts.table(head, rows) }}{% for each in shown %}{{ parts.media(each) }}{% endfor %}"
        "{% for each in charts %}{{ parts.chart(each) }}{% endfor %}{{ parts.bars(title, shares) }}{% endblock %}"
    )
    return tmp_path


@pytest.fixture
def own(templates: Path) -> Callable[..., str]:
    """The page, with what is given in place of little."""
    given = {"title": "a", "head": ["a"], "rows": [["b"]], "shown": [], "charts": [], "shares": {"as given": 0.5}}
    return lambda **values: render("own.html", templates=templates, **{**given, **values})
