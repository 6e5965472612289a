"""Columns of text that fit a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from tinyllava_kit_cli.table import align, fit, terminal_width


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


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [("a", "two words", ""), ("three", "", "x"), ("", "", "")]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row, line in zip(rows, align(rows), strict=True):
        assert (
            line
            == "  ".join(cell + " " * (width - len(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    assert list(align([])) == []


def test_a_cell_is_one_line_and_writes_nothing_to_a_terminal() -> None:
    assert list(align([("a\nb", "\x1b[2J")])) == ["a b  \\x1b[2J"]


def test_rows_of_unequal_cells_are_a_bug() -> None:
    with pytest.raises(ValueError, match="zip"):
        list(align([("a", "b"), ("c",)]))


def test_without_a_limit_rows_are_whole() -> None:
    rows = [("a", "word " * 99)]
    assert list(fit(rows, None)) == list(align(rows))


def test_a_pipe_has_no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    assert terminal_width() is None
    monkeypatch.setattr(out, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "61")
    assert terminal_width() == 61
