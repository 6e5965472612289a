"""Items of conversations as spans: which are read, what stands in their place, and how many ids are learned."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.core.test_decoders import OfWords
from tests.model.vocabulary.songs import make
from tinyllava_kit import KitError
from tinyllava_kit.core.conversation import ITEM, Conversation, Item, Turn
from tinyllava_kit.core.spans import GeneratedSpan, TextSpan
from tinyllava_kit.processing.items import ItemProcessor


class Words:
    """A modality of texts, of which each word is a part; between two of them stands a comma."""

    def read(self, source: Any) -> Any:
        if not source:
            raise KitError("the source is empty")
        return f"read {source}"

    def probe(self, source: Any) -> Any:
        return f"probe {source}"

    def expand(self, item: str, preprocessor: Any) -> list[Any]:
        first, *others = item.split()
        return [{"word": first}, *(each for word in others for each in (",", {"word": word}))]


class Letters:
    """A feature for each letter."""

    def __call__(self, part: Any) -> list[dict[str, torch.Tensor]]:
        return [{"x": torch.zeros(len(part["word"]))}]

    def num_features(self, part: Any) -> list[int]:
        return [len(part["word"])]

    def collate(self, rows: Any) -> dict[str, torch.Tensor]:
        return {"x": torch.stack([row["x"] for row in rows])}


class Toy(ItemProcessor):
    """Reads texts, writes songs in ids, and makes drawings of words."""

    def __init__(self) -> None:
        self.modalities = {"text": Words(), "song": Words(), "drawing": Words()}  # type: ignore[dict-item]
        self.preprocessors = {"text": Letters()}  # type: ignore[dict-item]
        drawing = OfWords()
        drawing.num_ids = len  # type: ignore[method-assign]
        self.decoders = {"song": SimpleNamespace(num_ids=len), "drawing": drawing}  # type: ignore[dict-item]
        self.grammar = make()


@pytest.fixture
def toy() -> Toy:
    return Toy()


def test_what_is_read_written_and_made(toy: Toy) -> None:
    assert (toy.reads, toy.makes, toy.writes) == (["text"], {"drawing"}, {"song", "dance"})
    assert toy.gives == {"song", "dance", "drawing"}
    toy.grammar = None
    assert (toy.writes, toy.gives) == (set(), {"drawing"})


def test_items_that_the_assistant_learns_to_give_are_no_input(toy: Toy) -> None:
    items = tuple(Item(modality, source) for source, modality in enumerate(("text", "song", "text", "song")))
    turns = (Turn("user", f"{ITEM}{ITEM}"), Turn("assistant", f"{ITEM}{ITEM}"))
    assert toy.input_items(Conversation(turns, items)) == list(items[:3])


def test_an_item_is_its_parts_with_text_between(toy: Toy) -> None:
    first, between, second = toy.read_item(Item("text", "abcde"))
    assert between == ","
    assert [(p.modality, p.num_features, len(p.rows)) for p in (first, second)] == [("text", [4], 1), ("text", [5], 1)]
    outline = toy.probe_item(Item("text", "abcde"))
    assert [p if isinstance(p, str) else (p.num_features, list(p.rows)) for p in outline] == [([5], []), ",", ([5], [])]


def test_an_item_that_cannot_be_read_names_its_row(toy: Toy) -> None:
    for call in (toy.read_source, toy.read_item):
        with pytest.raises(KitError, match=r"^rows\.json\[3\]: the source is empty$"):
            call(Item("text", "", name="rows.json[3]"))


def test_an_outline_has_as_many_ids_as_are_learned(toy: Toy) -> None:
    begin = toy.grammar.begin["song"]
    count = len("probe ab")
    assert toy.probe_ids(Item("song", "ab")) == TextSpan([begin] * (count + 2), [begin] * (count + 2))
    assert toy.probe_ids(Item("drawing", "ab")) == GeneratedSpan("drawing", [-1] * count)


def test_an_item_is_written_behind_words_that_are_learned(toy: Toy) -> None:
    def writer(item: Item) -> TextSpan:
        return TextSpan([7])

    learned, asked = TextSpan([1], [1]), TextSpan([1], [-100])
    assert toy.written(Item("song", "ab"), writer, []) == TextSpan([7])
    assert toy.written(Item("drawing", "ab"), writer, [asked, learned]) == TextSpan([7])
    for before in ([], [asked], [learned, asked], [learned, TextSpan([], [])], [learned, GeneratedSpan("drawing")]):
        with pytest.raises(KitError, match="row: the assistant gives an item of 'drawing', which its decoder makes of"):
            toy.written(Item("drawing", "ab", name="row"), writer, before)
    with pytest.raises(KitError, match="conversation: the assistant gives an item of 'song', whose ids the model"):
        toy.written(Item("song", "ab"), None, [])


def test_rows_and_windows_are_what_a_tower_takes(toy: Toy) -> None:
    rows = [{"x": torch.full((2,), float(n))} for n in range(3)]
    found = toy.tower_inputs("text", rows, [[2, 1], [2]])
    assert found["x"].tolist() == [[0.0] * 2, [1.0] * 2, [2.0] * 2]
    assert found["window_lengths"].tolist() == [3, 2]
    assert toy.tower_inputs("text", rows, [[2], [2], [2]]).keys() == {"x"}
