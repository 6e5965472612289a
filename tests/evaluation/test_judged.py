"""An answer beside what is right."""

from __future__ import annotations

import pytest

from tinyllava_kit.evaluation.judged import Judged


@pytest.mark.parametrize(("truths", "first"), [(("a", "b"), "a"), (("",), ""), ((), "")])
def test_the_truth_is_the_first_and_empty_where_nobody_says(truths, first):
    assert Judged("x", "?", truths, "b").truth == first
