"""What is absent from a row, whoever wrote it."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from tinyllava_kit.files.absence import absent, present


@pytest.mark.parametrize(
    "value",
    [None, float("nan"), np.float32("nan"), np.float64("nan"), Decimal("NaN"), {"bytes": None, "path": None}],
)
def test_nulls_and_nan_are_absent(value):
    assert absent(value)


def test_pandas_marks_are_absent():
    pandas = pytest.importorskip("pandas")
    assert absent(pandas.NA)
    assert absent(pandas.NaT)


@pytest.mark.parametrize("value", ["", "nan", 0, False, 0.0, [], {}, np.zeros(3), {"bytes": b"", "path": None}, "None"])
def test_anything_else_is_there(value):
    assert not absent(value)


def test_a_row_keeps_what_is_there():
    assert present({"a": None, "b": "", "c": float("nan"), "d": 0}) == {"b": "", "d": 0}
