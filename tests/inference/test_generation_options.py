"""What `generate` is told: how much room there is, and what ends an answer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tinyllava_kit import KitError
from tinyllava_kit.inference.generation_options import NEW_TOKENS, ends_of, options_for, room_for


def model(positions=None, eos=2):
    text = SimpleNamespace() if positions is None else SimpleNamespace(max_position_embeddings=positions)
    return SimpleNamespace(
        config=SimpleNamespace(text_config=text), generation_config=SimpleNamespace(eos_token_id=eos)
    )


@pytest.mark.parametrize(
    ("positions", "length", "wanted", "room"),
    [
        (1000, 10, None, NEW_TOKENS),
        (300, 100, None, 200),
        (300, 299, None, 1),
        (300, 100, 200, 200),
        (300, 100, 7, 7),
        (None, 10**6, None, NEW_TOKENS),
        (None, 10**6, 10**6, 10**6),
    ],
)
def test_an_answer_has_the_room_that_is_left(positions, length, wanted, room):
    assert room_for(model(positions), length, wanted) == room


@pytest.mark.parametrize(
    ("length", "wanted", "message"),
    [
        (300, None, "takes 300 positions, .* leaves no room for an answer; the LLM has 300:"),
        (450, 1, "takes 450 positions, .* leaves no room"),
        (
            100,
            201,
            "takes 100 positions, .* the answer up to 201; .* a --max-new-tokens of 200 at most$",
        ),
    ],
)
def test_no_room_is_refused_with_what_there_is(length, wanted, message):
    with pytest.raises(KitError, match=message):
        room_for(model(300), length, wanted)


def test_an_answer_is_greedy_and_in_words_unless_somebody_says_otherwise():
    processor = SimpleNamespace(pad_id=9, writes={"sound", "drawing"})
    plain = {"do_sample": False, "num_beams": 1, "max_new_tokens": 7, "pad_token_id": 9, "forbid": ["drawing", "sound"]}
    assert options_for(model(300), processor, 100, 7) == plain
    changed = options_for(model(300), processor, 100, 7, forbid=[], num_beams=3, force=["sound"])
    assert changed == {**plain, "forbid": [], "num_beams": 3, "force": ["sound"]}


@pytest.mark.parametrize(
    ("options", "eos", "ends"),
    [
        ({}, 2, {2}),
        ({}, [2, 5], {2, 5}),
        ({}, None, set()),
        ({"eos_token_id": 0}, 2, {0}),
        ({"eos_token_id": []}, 2, set()),
        ({"eos_token_id": None}, 2, set()),
    ],
)
def test_the_ends_are_those_of_the_options_or_else_of_the_model(options, eos, ends):
    assert ends_of(model(eos=eos), options) == ends
