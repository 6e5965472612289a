"""Sources: pairs become conversations, and what a source cannot be."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tinyllava_kit import KitError
from tinyllava_kit.components.modalities.plugin import AUDIO
from tinyllava_kit.data.rows import Row
from tinyllava_kit.data.sources import Pairs, Source, asked, check_pairs, grouped

MODALITIES = {"audio": AUDIO}


def ask_about(rows, how, modalities, *, name, repeat=1):
    named = [Row(row, f"{name}[{number}]") for number, row in enumerate(rows)]
    return [asked(part, how, modalities, first=first).values for part, first in grouped(named, how, repeat)]


def pairs(**changes):
    return Pairs(**{"modality": "audio", "prompts": ["Write down <audio> please.", "What is said?"], **changes})


def test_prompts_take_turns_and_the_item_stands_at_its_placeholder():
    rows = [{"audio": f"{n}.wav", "text": f"words {n}", "id": n} for n in range(3)]
    asked = ask_about(rows, pairs(), MODALITIES, name="f")
    item = {"type": "audio", "audio": "0.wav", "text": "words 0"}
    assert asked[0] == {
        "id": 0,
        "messages": [
            {"role": "user", "content": ["Write down ", item, " please."]},
            {"role": "assistant", "content": "words 0"},
        ],
    }
    assert asked[1]["messages"][0]["content"][1] == "\nWhat is said?"
    assert asked[2]["messages"][0]["content"][0] == "Write down "


def test_columns_are_named():
    asked = ask_about([{"file": "a.wav", "said": "yes"}], pairs(item="file", text="said"), MODALITIES, name="f")
    assert asked[0]["messages"][0]["content"][1]["audio"] == "a.wav"
    assert asked[0]["messages"][1]["content"] == "yes"


def test_several_pairs_share_a_conversation_and_every_round_draws_others():
    rows = [{"audio": f"{n}.wav", "text": f"words {n}"} for n in range(7)]
    asked = ask_about(rows, pairs(turns=3), MODALITIES, name="f", repeat=2)
    assert [len(row["messages"]) for row in asked] == [6, 6, 2, 6, 6, 2]
    said = [[m["content"] for m in row["messages"][1::2]] for row in asked]
    for part in (said[:3], said[3:]):
        assert sorted(text for row in part for text in row) == [f"words {n}" for n in range(7)]
    assert said[:3] != said[3:]
    for row in asked:
        for user, assistant in zip(row["messages"][::2], row["messages"][1::2], strict=True):
            (item,) = (part for part in user["content"] if isinstance(part, dict))
            assert item["text"] == assistant["content"]


@pytest.mark.parametrize(
    ("row", "changes", "message"),
    [
        ({"audio": "a.wav"}, {}, r"f\[0\]: has no 'text'; it has 'audio'"),
        ({"audio": "a.wav", "text": " "}, {}, r"f\[0\]: 'text' is ' '; expected a text"),
    ],
)
def test_what_is_no_pair_is_refused(row, changes, message):
    with pytest.raises(KitError, match=message):
        ask_about([row], pairs(**changes), MODALITIES, name="f")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modality": "smell"}, "does not read 'smell'; it reads audio"),
        ({"answer": "item"}, "does not answer with 'audio'; it answers with text only"),
        ({"prompts": ["<audio> <audio>"]}, "has <audio> more than once"),
    ],
)
def test_pairs_that_the_model_cannot_be_asked_about_are_refused(changes, message):
    with pytest.raises(KitError, match=message):
        check_pairs(pairs(**changes), MODALITIES, reads=["audio"], gives=())


def test_no_prompts_are_refused():
    with pytest.raises(ValidationError, match="at least 1 item"):
        pairs(prompts=[])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "a source needs one of path and dataset"),
        ({"path": "a.json", "dataset": "b"}, "a source needs one of path and dataset"),
        ({"path": "a.json", "repeat": 2, "weight": 1}, "a.json: repeat is for a source without weight or stream"),
        ({"path": "a.json", "repeat": 2, "stream": True}, "a.json: repeat is for a source without weight or stream"),
    ],
)
def test_a_source_that_makes_no_sense_is_refused(source, message):
    with pytest.raises(ValidationError, match=message):
        Source(**source)
