"""A whole answer of ids: words up to the end, and items where they stand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tests import toys
from tests.strokes import drawing, drawing_model  # noqa: F401 (a fixture)
from tinyllava_kit.core.ids import NO_ID
from tinyllava_kit.inference.reply import Reply, parallel_ids, until_end, whole_reply
from tinyllava_kit.inference.segments import GeneratedItem


def test_an_answer_has_its_words_in_one_text_and_its_items_by_modality():
    first, second, other = GeneratedItem("a", 1), GeneratedItem("a", 2, closed=False, dropped=3), GeneratedItem("b", 3)
    said = Reply((" one ", first, "two", other, second, " \n"))
    assert said.text == "one two"
    assert said.items("a") == [first, second]
    assert (said.items("b"), said.items("c")) == ([other], [])
    assert (Reply(()).text, Reply(()).items("a")) == ("", [])


@pytest.mark.parametrize(
    ("row", "words"), [([3, 4, 2, 0, 0], [3, 4]), ([3, 5, 2], [3]), ([2, 3], []), ([3, 4], [3, 4]), ([], [])]
)
def test_a_row_ends_before_its_first_end(row, words):
    assert until_end(row, {2, 5}) == words
    assert until_end(row, set()) == row


def test_nothing_stands_beside_ids_of_a_model_without_streams():
    ids = torch.tensor([[3, 4], [5, 6]])
    assert parallel_ids(SimpleNamespace(grammar=None), ids, [ids]) == [None, None]
    assert parallel_ids(SimpleNamespace(grammar=object()), ids, []) == [None, None]


def test_words_without_a_grammar_are_what_the_tokenizer_says(tmp_path):
    model, processor = toys.picture_model(tmp_path / "llm")
    ids = processor.tokenizer("two words", add_special_tokens=False)["input_ids"]
    end = processor.tokenizer.eos_token_id
    assert whole_reply(model, processor, [*ids, end], None) == Reply(("two words",))
    assert whole_reply(model, processor, [end], None) == Reply(())
    assert whole_reply(model, processor, [], None) == Reply(())


@pytest.mark.usefixtures("drawing")
def test_items_stand_where_their_ids_do(tmp_path):
    model, processor = drawing_model(tmp_path)
    decoder, grammar = model.decoders["drawing"], processor.grammar
    line = [[(0.0, 0.0), (1.0, 0.5)], [(0.5, 0.5)]]
    drawn = grammar.enclosed("drawing", decoder.encode(line), "line")
    words = processor.tokenizer("hello", add_special_tokens=False)["input_ids"]
    said = whole_reply(model, processor, [*words, *drawn, *words], None)
    assert said.parts == ("hello", GeneratedItem("drawing", line), "hello")
    cut = whole_reply(model, processor, [*words, *drawn[:5]], None)
    (item,) = cut.items("drawing")
    assert (item.item, item.closed, item.dropped) == ([[(0.0, 0.0)]], False, 1)
    assert whole_reply(model, processor, drawn[:2], None).parts == ()


@pytest.mark.usefixtures("drawing")
def test_what_was_chosen_beside_ids_counts_where_it_stands(tmp_path):
    model, processor = drawing_model(tmp_path, decoder="points")
    decoder, grammar = model.decoders["drawing"], processor.grammar
    line = [[(0.0, 0.0), (1.0, 0.5)], [(0.5, 0.5)]]
    coded = decoder.encode(line)
    row = torch.tensor(grammar.enclosed("drawing", coded, "line"))
    beside = torch.tensor(grammar.parallel_ids("drawing", coded))
    chosen = [torch.where(each == NO_ID, 1, each)[None] for each in beside]  # something is chosen at every place
    (found,) = parallel_ids(processor, row[None], chosen)
    assert found == beside.tolist()
    assert whole_reply(model, processor, row.tolist(), found).parts == (GeneratedItem("drawing", line),)
