"""The words of an answer's items stand in front of the items, where nothing else does."""

from __future__ import annotations

import pytest

from tinyllava_kit.core.conversation import ITEM, Conversation, Item, Turn
from tinyllava_kit.processing.answer_words import add_words_first, add_words_of_each


def conversation(said: str, *texts: str | None, asked: str = "say") -> Conversation:
    items = tuple(Item("audio", f"{number}.wav", text) for number, text in enumerate(texts))
    return Conversation((Turn("user", asked), Turn("assistant", said)), items)


@pytest.mark.parametrize(
    ("said", "each", "first"),
    [
        (ITEM, f"hello{ITEM}", f"hello{ITEM}"),
        (f" \n{ITEM}", f"hello{ITEM}", f"hello \n{ITEM}"),
        (f"own{ITEM}", f"own{ITEM}", f"own{ITEM}"),
        (f"{ITEM}own", f"hello{ITEM}own", f"{ITEM}own"),
    ],
)
def test_one_item(said: str, each: str, first: str) -> None:
    given = conversation(said, "hello")
    for add, expected in ((add_words_of_each, each), (add_words_first, first)):
        found = add(given, ["audio"])
        assert [turn.text for turn in found.turns] == ["say", expected]
        assert found.items == given.items


def test_several_items() -> None:
    given = conversation(f"{ITEM}{ITEM} and {ITEM}", "one", None, "three")
    assert add_words_of_each(given, ["audio"]).turns[1].text == f"one{ITEM}{ITEM} and {ITEM}"
    given = conversation(f"{ITEM}{ITEM}{ITEM}", "one", None, "three")
    assert add_words_of_each(given, ["audio"]).turns[1].text == f"one{ITEM}{ITEM}three{ITEM}"
    assert add_words_first(given, ["audio"]).turns[1].text == f"one three{ITEM}{ITEM}{ITEM}"


def test_questions_and_other_modalities_are_left_alone() -> None:
    asked = conversation("yes", "hello", asked=ITEM)
    other = conversation(ITEM, "hello")
    for add in (add_words_of_each, add_words_first):
        assert add(asked, ["audio"]) == asked
        assert add(other, ["image"]) == other
        assert add(conversation("no item"), ["audio"]) == conversation("no item")
