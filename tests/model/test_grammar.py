"""Ranges of ids, and which may follow which, beside a slow reader of sequences."""

from __future__ import annotations

import random

import pytest
import torch

from tinyllava_kit import KitError
from tinyllava_kit.core.decoders import TokenDecoder
from tinyllava_kit.core.ids import BEGIN, END, TEXT, allot, check_ranges
from tinyllava_kit.model.vocabulary.following import FollowGrammar
from tinyllava_kit.model.vocabulary.grammar import Grammar, Segment

NUM_TEXT, FIRST = 11, 13  # two ids between them belong to nobody
WANTED = {"song": {"a": 3, "b": 2}, "dance": {"step": 4, "turn": 1}}
FOLLOWS = {
    "song": TokenDecoder.cycle(["a", "b"]),
    "dance": {BEGIN: ("step",), "step": ("step", "turn", END), "turn": ("step",)},
}


def make() -> Grammar:
    return Grammar(allot(WANTED, FIRST), FOLLOWS, NUM_TEXT)


def may_follow(row: list[int]) -> set[int]:
    """Every id that may stand behind a row, by reading it from the start."""
    names = {}
    for modality, ranges in allot(WANTED, FIRST).items():
        for name, start, size in ranges:
            names.update({start + i: (modality, name) for i in range(size)})
    inside, last = "", ""
    for each in row:
        if each in names and names[each][1] == BEGIN:
            inside, last = names[each]
        elif each in names and names[each][1] == END:
            inside = ""
        elif inside:
            last = names[each][1]
    if not inside:
        return {*range(NUM_TEXT), *(i for i, (_, name) in names.items() if name == BEGIN)}
    return {i for i, (modality, name) in names.items() if modality == inside and name in FOLLOWS[inside][last]}


def test_ranges_lie_behind_one_another_with_two_marks_in_front() -> None:
    assert allot({"b": {"x": 5}, "a": {"y": 2, "z": 3}}, 100) == {
        "a": [["begin", 100, 1], ["end", 101, 1], ["y", 102, 2], ["z", 104, 3]],
        "b": [["begin", 107, 1], ["end", 108, 1], ["x", 109, 5]],
    }


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            {**WANTED, "song": {"a": 4, "b": 2}},
            r"made with ids \{'a': 3, 'b': 2\} for its decoder of 'song', which asks",
        ),
        ({"song": WANTED["song"]}, r"decoder of 'dance', which asks for none here; install the version"),
        ({**WANTED, "song": {"b": 2, "a": 3}}, r"asks for \{'b': 2, 'a': 3\}"),
    ],
)
def test_a_decoder_that_asks_for_other_ids_than_were_saved_is_refused(wanted: dict, message: str) -> None:
    check_ranges(allot(WANTED, FIRST), WANTED)
    with pytest.raises(KitError, match=message):
        check_ranges(allot(WANTED, FIRST), wanted)


def test_ranges_that_do_not_lie_behind_one_another_are_refused() -> None:
    saved = allot(WANTED, FIRST)
    saved["song"][3][1] += 1
    with pytest.raises(KitError, match="are not contiguous"):
        check_ranges(saved, WANTED)


def test_what_may_follow_is_what_a_slow_reader_says_of_a_thousand_rows() -> None:
    grammar = make()
    draw = random.Random(0)
    for _ in range(50):
        row = [draw.randrange(NUM_TEXT)]
        for _ in range(30):
            state = grammar.state_of[row[-1]]
            allowed = set(grammar.allowed[state].nonzero()[:, 0].tolist())
            assert allowed == may_follow(row)
            row.append(draw.choice(sorted(allowed)))


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


def test_pieces_are_text_and_items_counted_from_zero() -> None:
    grammar = make()
    song, _ = grammar.span("song")
    begin, end = grammar.begin["song"], grammar.end["song"]
    a, b = song + 2, song + 5
    assert grammar.segments([3, begin, a, b, a + 1, b + 1, end, 4, 5]) == [
        Segment(TEXT, [3]),
        Segment("song", [0, 3, 1, 4]),
        Segment(TEXT, [4, 5]),
    ]
    assert grammar.segments([begin, a, b, a + 1]) == [Segment("song", [0, 3], closed=False, dropped=1)]
    assert grammar.segments([begin, a]) == [Segment("song", [], closed=False, dropped=1)]
    assert grammar.segments([]) == []


def test_ids_in_another_order_than_the_decoder_states_are_refused() -> None:
    grammar = make()
    assert grammar.enclosed("song", torch.tensor([0, 3]), "x.wav")[0] == grammar.begin["song"]
    for wrong in ([0, 3, 1], [3, 0], [], [0, 9], [0, -3]):
        with pytest.raises(KitError, match=r"^x\.wav: its decoder gives"):
            grammar.enclosed("song", torch.tensor(wrong, dtype=torch.int64), "x.wav")


@pytest.mark.parametrize(
    ("follows", "message"),
    [
        ({BEGIN: ("a",), "a": ("b",)}, r"must say what follows each of \['a', 'b', 'begin'\]"),
        ({BEGIN: ("a",), "a": ("b",), "b": ("a",)}, "no range may be the last one"),
        ({BEGIN: ("a", END), "a": ("b",), "b": ("a", END)}, "behind 'begin' may come"),
        ({BEGIN: ("a",), "a": ("c",), "b": ("a", END)}, "behind 'a' may come"),
        ({BEGIN: ("a",), "a": (), "b": ("a", END)}, "behind 'a' may come"),
    ],
)
def test_an_order_that_cannot_be_written_is_refused(follows: dict, message: str) -> None:
    with pytest.raises(KitError, match=message):
        Grammar(allot({"song": WANTED["song"]}, FIRST), {"song": follows}, NUM_TEXT)
