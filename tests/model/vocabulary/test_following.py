"""Answers in the order of a grammar, whatever is the likeliest."""

from __future__ import annotations

import pytest
import torch

from tests.model.vocabulary.songs import make
from tinyllava_kit import KitError
from tinyllava_kit.core.ids import TEXT
from tinyllava_kit.model.vocabulary.following import FollowGrammar


@pytest.mark.parametrize("has_prompt", [True, False])
def test_sampled_rows_are_whole_items_and_text(has_prompt: bool) -> None:
    grammar = make()
    prompt = torch.tensor([[3, 4]]).repeat(40, 1)
    order = FollowGrammar(grammar, prompt=prompt if has_prompt else None, ends=[2])
    ids = prompt if has_prompt else prompt[:, :0]
    torch.manual_seed(0)
    for _ in range(25):
        scores = order(ids, torch.randn(len(ids), grammar.size))
        ids = torch.cat([ids, torch.multinomial(scores.softmax(-1), 1)], 1)
    found = [piece for row in ids.tolist() for piece in grammar.segments(row)]
    assert {piece.modality for piece in found} == {TEXT, "song", "dance"}
    for piece in found:
        if piece.modality == "song":
            assert len(piece.ids) % 2 == 0
            assert all(i < 3 for i in piece.ids[::2])
            assert all(3 <= i < 5 for i in piece.ids[1::2])
        if piece.modality == "dance" and piece.ids:
            assert piece.ids[0] < 4
            assert piece.ids[-1] < 4


def test_the_order_of_the_rows_does_not_matter() -> None:
    grammar = make()
    order = FollowGrammar(grammar, prompt=None, ends=[2])
    first, _ = grammar.span("song")
    rows = torch.tensor([[1, 2, 3], [1, first, first + 2], [1, 2, first]])
    scores = torch.randn(3, grammar.size)
    expected = order(rows, scores)
    for turned in ([2, 0, 1], [1, 2, 0]):
        assert torch.equal(order(rows[turned], scores[turned]), expected[turned])


def test_an_item_that_is_forced_begins_where_the_answer_would_end_without() -> None:
    grammar = make()
    prompt = torch.tensor([[1, grammar.begin["song"], grammar.end["song"], 5]])  # an item of an earlier turn
    order = FollowGrammar(grammar, prompt=prompt, ends=[2], force=["song"])
    scores = torch.zeros(1, grammar.size)
    scores[0, 2] = 9.0
    assert order(prompt, scores).argmax() == grammar.begin["song"]
    first, _ = grammar.span("song")
    spoken = torch.cat([prompt, torch.tensor([[grammar.begin["song"], first + 2, first + 5, grammar.end["song"]]])], 1)
    assert order(spoken, scores).argmax() == 2
    scores[0, 7] = 10.0  # text first
    assert order(prompt, scores).argmax() == 7


def test_an_item_that_is_forbidden_never_begins() -> None:
    grammar = make()
    order = FollowGrammar(grammar, prompt=None, ends=[2], forbid=["song"])
    scores = torch.zeros(1, grammar.size)
    scores[0, grammar.begin["song"]] = 9.0
    assert order(torch.tensor([[1]]), scores)[0, grammar.begin["song"]] == -torch.inf
    scores[0, grammar.begin["dance"]] = 8.0
    assert order(torch.tensor([[1]]), scores).argmax() == grammar.begin["dance"]


def test_a_modality_that_is_not_written_cannot_be_asked_for() -> None:
    with pytest.raises(KitError, match="does not write 'sing' in ids; did you mean 'song'"):
        FollowGrammar(make(), prompt=None, ends=[], force=["sing"])
    with pytest.raises(KitError, match="'song' cannot be forced and forbidden"):
        FollowGrammar(make(), prompt=None, ends=[], force=["song"], forbid=["song"])
