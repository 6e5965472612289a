"""Which id may follow which, beside a slow reader of sequences; items between their marks."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
import torch

from tests.model.vocabulary.codes import CODEBOOKS, SIZE, codes_grammar
from tests.model.vocabulary.songs import FIRST, FOLLOWS, NUM_TEXT, WANTED, make
from tinyllava_kit import KitError
from tinyllava_kit.core.ids import BEGIN, END, TEXT, ParallelStream, allot, sizes_of
from tinyllava_kit.model.vocabulary.codebooks import DelayPattern
from tinyllava_kit.model.vocabulary.grammar import Grammar, Segment, grammar_of


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: ids[:, 0], r"ids of shape \(6,\), expected \(6, 3\)"),
        (lambda ids: ids[:, :2], r"ids of shape \(6, 2\), expected \(6, 3\)"),
        (lambda ids: ids.where(ids != ids[1, 1], -1), "gives -1 as 'it.code1' beside id number 1, expected one of 5"),
        (lambda ids: torch.cat([ids[:, :2], ids[:, :1]], 1), "as 'it.code2' beside id number 0, expected -1, for none"),
        (lambda ids: ids.where(ids != 1, 5), "gives 5 as 'it.code1' beside id number 1, expected one of 5"),
        (lambda ids: ids[:-1], "and id number 5 is not allowed there"),
    ],
)
def test_ids_that_stand_elsewhere_than_stated_are_refused(change, message):
    pattern = DelayPattern(CODEBOOKS, SIZE)
    ids = pattern.to_ids(torch.tensor([(0, 1, 2), (3, 2, 1), (4, 4, 4), (3, 3, 3)]).T)
    with pytest.raises(KitError, match=message):
        codes_grammar(pattern).enclosed("it", change(ids), "a.txt")


@pytest.mark.parametrize(
    "stream",
    [
        {"a": ParallelStream(size=2, on=("a",))},
        {"s": ParallelStream(size=2, on=("c",))},
        {"s": ParallelStream(size=0, on=("a",))},
        {"s": ParallelStream(size=2, on=())},
        {"s": ParallelStream(size=2, on=("a",), delay=-1)},
    ],
)
def test_sides_that_cannot_stand_are_refused(stream):
    with pytest.raises(KitError, match=r"the decoder of 'm': '[as]' cannot be parallel to its ids"):
        Grammar(allot({"m": {"a": 2}}, FIRST), {"m": {BEGIN: ("a",), "a": ("a", END)}}, FIRST, parallel={"m": stream})


def test_a_cut_behind_no_range_is_refused():
    with pytest.raises(KitError, match=r"the decoder of 'm': cut behind \['b'\]; expected some of its ranges"):
        Grammar(
            allot({"m": {"a": 2}}, FIRST), {"m": {BEGIN: ("a",), "a": ("a", END)}}, FIRST, break_points={"m": {"b": 1}}
        )


def test_which_ids_compete_and_which_group_a_target_is_of() -> None:
    grammar = make()
    song, dance = grammar.span("song")[0], grammar.span("dance")[0]
    assert grammar.groups == ["text", "dance.step", "dance.turn", "song.a", "song.b"]
    assert grammar.columns("text").tolist() == [*range(NUM_TEXT), dance, song]
    assert grammar.columns("dance.step").tolist() == [*range(dance + 1, dance + 7)]  # the end, and what may stand there
    assert grammar.columns("dance.turn").tolist() == []  # it stands where a step could
    assert grammar.columns("song.a").tolist() == [*range(song + 1, song + 5)]
    previous = torch.tensor([4, song, song + 2, song + 5, song + 1, dance, dance + 6])
    found = {group: rows.tolist() for group, rows in grammar.targets(previous).items()}
    assert found == {"text": [0, 4], "dance.step": [5, 6], "dance.turn": [], "song.a": [1, 3], "song.b": [2]}


def test_the_grammar_of_a_model_is_that_of_its_decoders_that_have_ids() -> None:
    pattern = DelayPattern(CODEBOOKS, SIZE)
    mine = {name: getattr(pattern, name) for name in ("ranges", "follows", "parallel", "break_points")}
    decoders = {"it": SimpleNamespace(reads="tokens", **mine), "drawing": SimpleNamespace(reads="hidden")}
    config = SimpleNamespace(
        token_ranges=allot({"it": pattern.ranges}, FIRST),
        parallel_streams=sizes_of({"it": pattern.parallel}),
        text_config=SimpleNamespace(vocab_size=NUM_TEXT),
    )
    found, expected = grammar_of(config, decoders), codes_grammar(pattern)
    assert found is not None
    assert (found.num_text, found.ranges, found.parallel) == (NUM_TEXT, expected.ranges, expected.parallel)
    assert torch.equal(found.allowed[:, FIRST:], expected.allowed[:, FIRST:])
    with pytest.raises(KitError, match="its decoder of 'it', which asks for none here"):
        grammar_of(config, {"drawing": decoders["drawing"]})
    nothing = SimpleNamespace(token_ranges={}, parallel_streams={})
    assert grammar_of(nothing, {"drawing": decoders["drawing"]}) is None
    with pytest.raises(KitError, match="made with ids of none for its decoder of 'it'"):
        grammar_of(nothing, decoders)
