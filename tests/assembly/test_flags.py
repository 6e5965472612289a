"""Words of a command line that name a modality."""

from __future__ import annotations

import pytest

from tinyllava_kit import KitError
from tinyllava_kit.assembly.flags import split_word


@pytest.mark.parametrize(
    ("word", "parts"), [("image=clip", ("image", "clip")), ("a=b=c", ("a", "b=c")), ("a=b:c/d", ("a", "b:c/d"))]
)
def test_the_first_equals_sign_is_the_border(word, parts):
    assert split_word(word, "--tower", "MODALITY=NAME") == parts


@pytest.mark.parametrize("word", ["", "image", "=clip", "image=", "="])
def test_another_form_is_refused_with_the_one_that_is_wanted(word):
    with pytest.raises(KitError, match=f"^--tower needs MODALITY=NAME, got '{word}'$"):
        split_word(word, "--tower", "MODALITY=NAME")
