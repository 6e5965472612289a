"""The contract of a chat template that the kit ships and that leaves questions out."""

from __future__ import annotations

from typing import ClassVar

from ..core.conversation import ITEM, Turn
from .chat_templates import ChatTemplateContract


class PretrainContract(ChatTemplateContract):
    """Of a question only its items are kept: each has one here, which keeps answers apart."""

    leaves_out_questions: ClassVar[str] = "items and their captions are all that it writes"

    def rounds(self) -> list[list[Turn]]:
        """One round and two, with an item in each question, or two."""
        first = [Turn("user", f"{ITEM}What is it?"), Turn("assistant", "A *plain* answer: no. {2}")]
        second = [Turn("user", f"And {ITEM}?"), Turn("assistant", "For  two reasons.")]
        two = [Turn("user", f"one {ITEM} and {ITEM}"), first[1]]
        return [first, [*first, *second], two]
