"""A question, and the answer to it beside what is right."""

from __future__ import annotations

import pytest

from tinyllava_kit.core.conversation import ITEM, Conversation, Item, Turn
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.question import Question


@pytest.mark.parametrize(
    "turns",
    [(), (Turn("assistant", "a"),), (Turn("user", "q"),), (Turn("user", "q"), Turn("assistant", ITEM))],
    ids=["nothing", "no question", "no answer", "an answer that is no text"],
)
def test_a_row_without_question_and_answer_is_named(turns):
    conversation = Conversation(turns, tuple(Item("image", "a.png") for t in turns if ITEM in t.text), "rows.json[7]")
    with pytest.raises(KitError, match=r"rows\.json\[7\]: needs a question and, as its last turn, the assistant's"):
        Question.from_conversation(conversation)
