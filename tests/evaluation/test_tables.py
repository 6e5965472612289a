"""The table of an evaluation."""

from __future__ import annotations

from tinyllava_kit.evaluation.figures import Figure
from tinyllava_kit.evaluation.tables import table


def test_a_table_has_a_row_for_each_control():
    figures = {
        control: {"accuracy": Figure(value, 3), "median rank": Figure(2.5, 3, "g")}
        for control, value in (("as given", 2 / 3), ("without items", 0.0))
    }
    assert table(figures, "rows.json") == [
        ["rows.json", "accuracy", "median rank"],
        ["as given", "0.667 (3)", "2.5 (3)"],
        ["without items", "0.000 (3)", "2.5 (3)"],
    ]
