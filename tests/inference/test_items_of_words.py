"""The items that decoders make of the words of an answer, with decoders that tell what they were asked."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tinyllava_kit.core.decoders import GeneratedChunk, HiddenDecoder, TextDecoder, TokenDecoder
from tinyllava_kit.inference.items_of_words import ItemsOfWords
from tinyllava_kit.inference.segments import GeneratedItem
from tinyllava_kit.processing.encoded import Encoded


def as_it_is(kind):
    """A decoder with no more than what is asked of it here."""
    kind.__abstractmethods__ = frozenset()
    return kind


@as_it_is
class Reader(TextDecoder):
    """Reads letters."""

    def __init__(self):
        pass

    def decode(self, text):
        return [*text]


@as_it_is
class Maker(HiddenDecoder):
    """Makes pieces of what was read."""

    def __init__(self, *chunks):
        self.chunks, self.made = chunks, []

    def make(self, words, sampler):
        self.made.append((words, sampler))
        yield from self.chunks


@as_it_is
class Coder(TokenDecoder):
    def __init__(self):
        pass


def of(decoders, *, words=(3, 4), stopped=lambda: False):
    join = SimpleNamespace(join=lambda pieces: [each for piece in pieces for each in piece])
    model = SimpleNamespace(decoders=decoders, sample_as=lambda options: ("sampler", options))
    processor = SimpleNamespace(modalities=dict.fromkeys(decoders, join))
    made = ItemsOfWords(model, processor, Encoded([]), [*words], None, {"how": 1}, stopped)
    made._read = lambda modality: ("read", modality)
    return made


def items_of(made, force, text="ab"):
    shown = []
    return made.items(force, text, shown.append), shown


def test_a_text_is_read_at_once():
    found, shown = items_of(of({"a": Reader()}), ["a"])
    assert found == shown == [GeneratedItem("a", ["a", "b"], closed=True)]
    assert items_of(of({"a": Reader()}), ["a"], text="") == ([], [])


def test_pieces_are_shown_as_they_are_made_and_joined():
    maker = Maker(GeneratedChunk([1]), GeneratedChunk(None), GeneratedChunk([2, 3], True, 0))
    found, shown = items_of(of({"a": maker}), ["a"])
    assert found == [GeneratedItem("a", [1, 2, 3], closed=True)]
    assert shown == [GeneratedItem("a", [1], closed=False), GeneratedItem("a", [2, 3], closed=True)]
    assert maker.made == [(("read", "a"), ("sampler", {"how": 1}))]


def test_one_that_is_cut_says_what_was_left_out():
    found, _ = items_of(of({"a": Maker(GeneratedChunk([1]), GeneratedChunk(None, False, 2))}), ["a"])
    assert found == [GeneratedItem("a", [1], closed=False, dropped=2)]


def test_of_no_word_nothing_is_made():
    maker = Maker(GeneratedChunk([1], True))
    assert items_of(of({"a": maker}, words=()), ["a"]) == ([], [])
    assert maker.made == []


def test_modalities_are_made_in_the_order_in_which_they_are_wanted_and_no_others():
    decoders = {"a": Reader(), "b": Maker(GeneratedChunk([1], True)), "c": Coder()}
    found, _ = items_of(of(decoders), ["b", "c", "a"])
    assert [each.modality for each in found] == ["b", "a"]
    assert items_of(of(decoders), []) == ([], [])


@pytest.mark.parametrize("most", [0, 1, 2])
def test_no_piece_is_taken_when_no_more_is_wanted(most):
    asked = []
    maker = Maker(*[GeneratedChunk([number], number == 4) for number in range(5)])
    found, shown = items_of(of({"a": maker}, stopped=lambda: len(asked) >= most or asked.append(1)), ["a"])
    assert [each.item for each in shown] == [[number] for number in range(most)]
    assert [(each.item, each.closed) for each in found] == ([([*range(most)], False)] if most else [])
