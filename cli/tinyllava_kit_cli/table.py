"""Columns of plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tinyllava_kit.core.printable import one_line


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
