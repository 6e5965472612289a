"""Columns of plain text, as wide as the terminal; a pipe gets whole lines."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence

from tinyllava_kit.files.printable import one_line

INDENT = 4  # of lines under their row


def align(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of equally many cells as printable lines, each column as wide as its widest cell.

    Example:
        >>> list(align([("a", "long name", "x"), ("bcd", "b", "")]))
        ['a    long name  x', 'bcd  b']
    """
    shown = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def fit(rows: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    """Rows as `align` writes them, where they fit the width; else their last columns stand beneath, wrapped.

    Args:
        width: in characters; None: no limit.

    Example:
        >>> list(fit([("a", "long name", "words of some length")], 20))
        ['a  long name', '    words of some', '    length']
    """
    whole = list(align(rows))
    columns = len(rows[0]) if rows else 0
    heads = whole
    while width is not None and columns > 1 and max(map(len, heads)) > width:
        columns -= 1
        heads = list(align([row[:columns] for row in rows]))
    for row, line, head in zip(rows, whole, heads, strict=True):
        if width is None or len(line) <= width:
            yield line
        else:
            yield head
            yield from (line for cell in row[columns:] for line in _beneath(cell, width))


def _beneath(cell: str, width: int) -> list[str]:
    """A cell that has no room in its row, wrapped and indented; a long word stays whole, to be copied."""
    import textwrap

    indent = " " * INDENT
    return textwrap.wrap(
        one_line(cell),
        max(width, 2 * INDENT),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def terminal_width() -> int | None:
    """How wide the terminal is that standard output goes to; None for a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
