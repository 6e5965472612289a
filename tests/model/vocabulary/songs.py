"""The ids of two decoders behind a vocabulary: songs, in steps of two ids, and dances, as they come."""

from __future__ import annotations

from tinyllava_kit.core.decoders import TokenDecoder
from tinyllava_kit.core.ids import BEGIN, END, allot
from tinyllava_kit.model.vocabulary.grammar import Grammar

NUM_TEXT, FIRST = 11, 13  # two ids between them belong to nobody


WANTED = {"song": {"a": 3, "b": 2}, "dance": {"step": 4, "turn": 1}}


FOLLOWS = {
    "song": TokenDecoder.cycle(["a", "b"]),
    "dance": {BEGIN: ("step",), "step": ("step", "turn", END), "turn": ("step",)},
}


def make() -> Grammar:
    return Grammar(allot(WANTED, FIRST), FOLLOWS, NUM_TEXT)
