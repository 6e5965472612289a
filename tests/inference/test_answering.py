"""Answers: what the LLM has no room for is refused before it is run."""

from __future__ import annotations

import pytest

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.inference.answering import answer, question


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return toys.picture_model(tmp_path_factory.mktemp("answering") / "llm")


def of_length(processor, length):
    """A question that takes so many positions."""
    first, second = (processor([question("w" * n, [], processor)], answer=True)["input_ids"].shape[1] for n in (1, 2))
    assert second == first + 1
    return question("w" * (length - first + 1), [], processor)


def test_a_conversation_without_room_for_an_answer_is_refused(pair):
    model, processor = pair
    with pytest.raises(
        KitError, match=r"takes \d+ positions, its items included, and the answer up to 500; .* has 512"
    ):
        answer(model, processor, [question("What is this?", [], processor)], max_new_tokens=500)


def test_the_message_says_how_many_tokens_there_is_room_for(pair):
    model, processor = pair
    with pytest.raises(KitError, match=r"takes 400 .*the LLM has 512: .* or a --max-new-tokens of 112 at most$"):
        answer(model, processor, [of_length(processor, 400)], max_new_tokens=113)


@pytest.mark.parametrize("length", [500, 511])
def test_an_answer_of_no_given_length_ends_where_the_context_does(pair, length):
    model, processor = pair
    asked = [of_length(processor, length)]
    assert answer(model, processor, asked) == answer(model, processor, asked, max_new_tokens=512 - length)


def test_a_conversation_that_fills_the_context_is_refused(pair):
    model, processor = pair
    with pytest.raises(
        KitError, match=r"^the conversation takes 512 positions.* no room for an answer; the LLM has 512:"
    ):
        answer(model, processor, [of_length(processor, 512)])


def test_what_fits_is_answered(pair):
    model, processor = pair
    assert len(answer(model, processor, [question("What?", [], processor)], max_new_tokens=2)) == 1
