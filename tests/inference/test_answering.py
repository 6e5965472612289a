"""Answers: what the LLM has no room for is refused before it is run."""

from __future__ import annotations

import pytest

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.inference.answering import answer, question


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return toys.picture_model(tmp_path_factory.mktemp("answering") / "llm")


def test_a_conversation_without_room_for_an_answer_is_refused(pair):
    model, processor = pair
    with pytest.raises(
        KitError, match=r"takes \d+ positions, its items included, and the answer up to 500; .* has 512"
    ):
        answer(model, processor, [question("What is this?", [], processor)], max_new_tokens=500)


def test_what_fits_is_answered(pair):
    model, processor = pair
    assert len(answer(model, processor, [question("What?", [], processor)], max_new_tokens=2)) == 1
