"""Columns of text that fit a terminal."""

from __future__ import annotations

from tinyllava_kit_cli.table import fit


def test_a_row_is_wrapped_at_words_and_a_long_word_stays_whole() -> None:
    rows = [("ok", "a", "short"), ("broken", "b", "pip install 'tinyllava-kit[evaluate]' and go on")]
    assert list(fit(rows, 30)) == [
        "ok      a  short",
        "broken  b",
        "    pip install",
        "    'tinyllava-kit[evaluate]'",
        "    and go on",
    ]
    assert list(fit(rows, 7)) == [
        "ok",
        "    a",
        "    short",
        "broken",
        "    b",
        "    pip",
        "    install",
        "    'tinyllava-kit[evaluate]'",
        "    and",
        "    go",
        "    on",
    ]
    assert list(fit([], 80)) == []
