"""The words of an answer's items, in front of the items."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ..core.conversation import ITEM, Conversation, Turn


def add_words_of_each(conversation: Conversation, modalities: Collection[str]) -> Conversation:
    """The same, with the text of every item that is made of words in front of it, where nothing else stands there."""
    answered = iter(zip(conversation.items, conversation.answered(modalities), strict=True))
    turns = []
    for turn in conversation.turns:
        *before, rest = turn.text.split(ITEM)
        text = ""
        for words in before:
            item, made = next(answered)
            text += f"{(item.text or words) if made and not words.strip() else words}{ITEM}"
        turns.append(Turn(turn.role, text + rest))
    return replace(conversation, turns=tuple(turns))


def add_words_first(conversation: Conversation, modalities: Collection[str]) -> Conversation:
    """The same, with the text of an item that the assistant gives in front of it, where its turn has no words."""
    answered = iter(zip(conversation.items, conversation.answered(modalities), strict=True))
    turns = []
    for turn in conversation.turns:
        mine = [next(answered) for _ in range(turn.text.count(ITEM))]
        has_words = bool(turn.text.replace(ITEM, "").strip())
        words = "" if has_words else " ".join(item.text for item, given in mine if given and item.text)
        turns.append(Turn(turn.role, f"{words}{turn.text}"))
    return replace(conversation, turns=tuple(turns))
