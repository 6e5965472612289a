"""Captions: of a question its items alone, of an answer its words and a line break."""

from __future__ import annotations

import pytest

from tinyllava_kit.components.templates.pretrain import Pretrain
from tinyllava_kit.core.conversation import ITEM, Span, Turn
from tinyllava_kit.errors import KitError


def spans(*texts, answer=False, system=None):
    turns = [Turn("system", system)] if system is not None else []
    turns += [Turn(("user", "assistant")[number % 2], text) for number, text in enumerate(texts)]
    return Pretrain(None).render(turns, answer=answer)


def test_items_and_captions_are_kept_in_order():
    assert spans(f"{ITEM}\nwhat is {ITEM}?", "a dog", "words", f"and {ITEM}") == [
        Span(ITEM * 2),
        Span("a dog\n", learn=True),
        Span(f"and {ITEM}\n", learn=True),
    ]


def test_an_item_of_the_system_turn_stands_first_and_its_words_nowhere():
    assert spans(ITEM, "a", system=f"be {ITEM} kind") == [Span(ITEM), Span(ITEM), Span("a\n", learn=True)]
    assert spans(ITEM, "a", system="be kind") == [Span(ITEM), Span("a\n", learn=True)]


def test_a_question_alone_is_what_a_caption_stands_behind():
    assert spans(f"what is {ITEM}?", answer=True) == [Span(ITEM)]


def test_nothing_to_answer_is_refused():
    with pytest.raises(KitError, match="there is no question to answer"):
        spans(ITEM, "a", answer=True)
    with pytest.raises(KitError, match="there is no question to answer"):
        spans()
