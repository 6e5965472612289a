"""Figures: how they are printed, and shares."""

from __future__ import annotations

import pytest

from tinyllava_kit.evaluation.figures import Figure, share


@pytest.mark.parametrize(
    ("figure", "printed"),
    [
        (Figure(2 / 3, 3), "0.667 (3)"),
        (Figure(0.125, 8, ".1%"), "12.5% (8)"),
        (Figure(1234.5, 2, ",.1f"), "1,234.5 (2)"),
        (Figure(-0.5, 1, "+.2f"), "-0.50 (1)"),
        (Figure(2.5, 4, "g"), "2.5 (4)"),
    ],
)
def test_a_figure_is_printed_in_its_form_with_its_count(figure, printed):
    assert str(figure) == printed


@pytest.mark.parametrize("form", ["3f", ".33f", ".3f}", "d d", ">9", "\n"])
def test_a_form_that_could_print_anything_else_is_refused(form):
    with pytest.raises(ValueError, match=r"form must be like '\.3f', got "):
        Figure(0.5, 2, form)


def test_a_share_of_nothing_is_nothing():
    assert (share(1, 4), share(0, 0)) == (Figure(0.25, 4), Figure(0.0, 0))
