"""Ids of items, made once: kept in memory, found again in a folder, and what they depend on."""

from __future__ import annotations

import json

import pytest

from tests.strokes import LINE, drawing, drawing_model, drawn  # noqa: F401 (a fixture)
from tinyllava_kit.core.conversation import Item
from tinyllava_kit.core.spans import GeneratedSpan, TextSpan
from tinyllava_kit.features.item_codes import ItemCodes

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("drawing")]


def asked(processor, folder):
    file = folder / "line.json"
    file.write_text(json.dumps(LINE))
    return [processor.conversation(drawn("a line", str(file)))]


def test_ids_are_found_again_in_a_folder(tmp_path):
    model, processor = drawing_model(tmp_path, decoder="strokes_talker")
    conversations = asked(processor, tmp_path)
    first, second = (ItemCodes(model, processor, tmp_path / "cache") for _ in range(2))
    assert (first.fill(conversations), second.fill(conversations)) == (1, 0)
    (item,) = conversations[0].items
    assert first(item) == second(item) == GeneratedSpan("drawing", model.decoders["drawing"].encode(LINE).tolist())
    model.decoders["drawing"].join.weight.data += 1  # trained since: the ids are the same
    assert ItemCodes(model, processor, tmp_path / "cache").fill(conversations) == 0


@pytest.mark.parametrize("decoder", ["strokes", "points"])
def test_ids_of_the_vocabulary_are_found_again_with_what_stands_beside_them(tmp_path, decoder):
    model, processor = drawing_model(tmp_path, decoder=decoder)
    conversations = asked(processor, tmp_path)
    (item,) = conversations[0].items
    first, second = (ItemCodes(model, processor, tmp_path / "cache") for _ in range(2))
    assert (first.fill(conversations), second.fill(conversations)) == (1, 0)
    span = first(item)
    assert isinstance(span, TextSpan)
    assert second(item) == span == model.ids_of("drawing", LINE)
    assert (span.parallel is not None) == bool(model.decoders["drawing"].parallel)
    model.decoders["drawing"].rows.embedding.data += 1  # trained since
    assert ItemCodes(model, processor, tmp_path / "cache").fill(conversations) == 0
    model.config.decoders["drawing"] = {**model.config.decoders["drawing"], "version": "9"}
    assert ItemCodes(model, processor, tmp_path / "cache").fill(conversations) == 1


def test_what_was_filled_is_encoded_once_and_others_whenever_they_are_asked_for(tmp_path, monkeypatch):
    model, processor = drawing_model(tmp_path)
    conversations = asked(processor, tmp_path)
    codes, encoded = ItemCodes(model, processor), []
    monkeypatch.setattr(codes, "_encode", lambda item: encoded.append(item) or TextSpan([len(encoded)]))
    question = processor.conversation([{"role": "user", "content": "draw"}])
    assert codes.fill([*conversations, *conversations, question]) == 1  # equal items are one
    assert codes.fill(conversations) == 0
    assert [codes(conversations[0].items[0]).ids for _ in "12"] == [[1], [1]]
    other = Item("drawing", LINE)
    assert [codes(other).ids for _ in "12"] == [[2], [3]]
    assert codes.fill([]) == 0
