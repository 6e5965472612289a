"""The table of an evaluation: a row for each control. Light."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .figures import Figures

if TYPE_CHECKING:
    from .controls import Control


def table(figures: Mapping[Control, Figures], title: str) -> list[list[str]]:
    """Cells, head first: the figures of every control. A cell is empty where a control lacks a figure of the first.

    Example:
        >>> from .figures import Figure
        >>> table({"as given": {"accuracy": Figure(0.5, 4)}}, "rows.json")
        [['rows.json', 'accuracy'], ['as given', '0.500 (4)']]
    """
    names = list(next(iter(figures.values()), ()))
    return [
        [title, *names],
        *([control, *(str(every.get(name, "")) for name in names)] for control, every in figures.items()),
    ]
