"""What of a batch is learned, group by group: text, the ids of decoders, and items that are made of words."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from tests.model.vocabulary.songs import make
from tinyllava_kit.core.plan import plan
from tinyllava_kit.core.spans import GeneratedSpan, TextSpan
from tinyllava_kit.model.vocabulary.target_ids import targets_of


def lists(targets):
    return {group: rows.tolist() for group, rows in targets.items()}


def maker(seen):
    """A decoder of which every id but the last of an item is a target of its main group."""

    def targets(ids):
        seen.append(ids.tolist())
        return {"main": torch.arange(int((ids[:, :-1] >= 0).sum())), "other": torch.tensor([5])}

    return SimpleNamespace(loss_weights={"main": 1.0, "other": 0.5}, targets=targets)


def test_without_decoders_every_target_is_text():
    _, layout = plan([[TextSpan([1, 2, 3], [-100, 2, 3])], [TextSpan([4, 5], [4, 5])]])
    assert lists(targets_of(layout, None, None, {})) == {"text": [0, 1, 2]}


def test_ids_of_decoders_are_of_their_groups():
    grammar = make()
    first, _ = grammar.span("song")
    ids = [1, first, first + 2, first + 5, first + 1, 2]
    inputs, layout = plan([[TextSpan(ids, ids)]])
    previous = inputs["input_ids"].flatten()[layout.target_positions]
    found = lists(targets_of(layout, previous, grammar, {}))
    assert found == {"text": [0, 4], "dance.step": [], "dance.turn": [], "song.a": [1, 3], "song.b": [2]}


def test_items_of_words_are_asked_of_their_decoder_where_their_ids_are_known():
    seen: list[list[list[int]]] = []
    words = [TextSpan([1]), TextSpan([2, 3], [2, 3])]
    _, layout = plan([[*words, GeneratedSpan("m", [7, 8, 9])], [*words, GeneratedSpan("m", [6])]])
    found = lists(targets_of(layout, None, None, {"m": maker(seen), "none": maker(seen)}))
    assert seen == [[[7, 8, 9], [6, -1, -1]]]
    assert found == {
        "text": [0, 1, 2, 3],
        "m.main": [0, 1, 2],
        "m.other": [5],
        "none.main": [],
        "none.other": [],
    }
    _, empty = plan([[*words, GeneratedSpan("m")]])  # as while it is generated
    assert lists(targets_of(empty, None, None, {"m": maker(seen)})) == {"text": [0, 1], "m.main": [], "m.other": []}
    assert len(seen) == 1
