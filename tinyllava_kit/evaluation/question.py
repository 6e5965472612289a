"""A question to a model, with all that a scorer needs to judge the answer. Light."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..core.conversation import ITEM, Conversation
from ..errors import KitError
from .judged import Judged

ANSWER_A_LETTER = "Answer with the option's letter from the given choices directly."


@dataclass(frozen=True, kw_only=True)
class Question:
    """A conversation that ends where the assistant is to answer; the rest is as in `Judged`."""

    id: str | int
    conversation: Conversation
    truths: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    category: str = ""

    @classmethod
    def from_conversation(cls, conversation: Conversation) -> Question:
        """The conversation before its last turn, which is the truth.

        Raises:
            KitError: the last turn is not the assistant's, is the only one or holds an item.
        """
        turns = conversation.turns
        if len(turns) < 2 or turns[-1].role != "assistant" or ITEM in turns[-1].text:
            raise KitError(
                f"{conversation.name}: needs a question and, as its last turn, the assistant's answer in text"
            )
        return cls(id=conversation.name, conversation=replace(conversation, turns=turns[:-1]), truths=(turns[-1].text,))

    def judged(self, said: str) -> Judged:
        """The answer `said`, with the right ones."""
        asked = self.conversation.turns[-1].text.replace(ITEM, "").strip()
        return Judged(self.id, asked, self.truths, said, self.choices, self.category)
