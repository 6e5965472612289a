"""Sources: pairs become conversations, several files stand behind one another, tables and saved datasets are read."""

from __future__ import annotations

import json
from collections import Counter

import datasets
import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.components.modalities.audio import AudioModality
from tinyllava_kit.components.modalities.plugin import AUDIO
from tinyllava_kit.core.conversation import ITEM
from tinyllava_kit.data.dataset import ConversationDataset
from tinyllava_kit.data.rows import Row, read_rows
from tinyllava_kit.data.sources import Pairs, Source, asked, check_pairs, grouped

MODALITIES = {"audio": AUDIO}
PICTURE_PAIRS = {"modality": "image", "prompts": ["What is it?"]}


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


def test_files_stand_behind_one_another_limited_and_repeated(tmp_path):
    _, processor = toys.picture_model(tmp_path / "llm")
    rows = toys.picture_rows(tmp_path)
    (tmp_path / "captions.csv").write_text('image,text\nimages/0.png,"a hen, red"\nimages/1.png,pigs\n')
    how = {"modality": "image", "prompts": ["What is it?"]}
    dataset = ConversationDataset.from_sources(
        [Source(path=str(rows), limit=2, repeat=2), Source(path=str(tmp_path / "captions.csv"), pairs=how)], processor
    )
    assert [c.name for c in dataset.conversations] == [
        f"{tmp_path}/rows.json[0] 'row-0'",
        f"{tmp_path}/rows.json[1] 'row-1'",
        f"{tmp_path}/rows.json[0] 'row-0'",
        f"{tmp_path}/rows.json[1] 'row-1'",
        f"{tmp_path}/captions.csv[0]",
        f"{tmp_path}/captions.csv[1]",
    ]
    captioned = dataset.conversations[4]
    assert captioned.items[0].source == str(tmp_path / "images/0.png")
    assert captioned.items[0].text == "a hen, red"
    assert captioned.turns[0].text == f"{ITEM}\nWhat is it?"
    assert dataset[5].num_tokens > 0


@pytest.mark.parametrize(
    ("row", "how", "message"),
    [
        ({"id": 7}, {}, r"^new/data\.json\[0\] 7: needs 'conversations'"),
        ({"image": "a.png"}, {"pairs": PICTURE_PAIRS}, r"^new/data\.json\[0\]: has no 'text'"),
    ],
    ids=["conversations", "pairs"],
)
def test_two_files_of_one_name_are_told_apart(tmp_path, monkeypatch, row, how, message):
    _, processor = toys.picture_model(tmp_path / "llm")
    good = toys.picture_rows(tmp_path / "old")
    good.rename(good.with_name("data.json"))
    (tmp_path / "new").mkdir()
    (tmp_path / "new/data.json").write_text(json.dumps([row]))
    monkeypatch.chdir(tmp_path)
    sources = [Source(path="old/data.json"), Source(path="new/data.json", **how)]
    with pytest.raises(KitError, match=message):
        ConversationDataset.from_sources(sources, processor)


def test_a_table_with_a_short_row_is_refused(tmp_path):
    (tmp_path / "a.tsv").write_text("audio\ttext\na.wav\n")
    with pytest.raises(KitError, match=r"a\.tsv row 1: has another number of fields than the head line"):
        read_rows(tmp_path / "a.tsv")


def test_a_saved_dataset_is_read_without_decoding_its_sounds(tmp_path):
    tone = np.sin(np.arange(900) / 7).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", tone, 9000, subtype="FLOAT")
    table = datasets.Dataset.from_dict({"audio": [str(tmp_path / "a.wav")], "text": ["a tone"]})
    table.cast_column("audio", datasets.Audio()).save_to_disk(tmp_path / "saved")
    (row,) = read_rows(tmp_path / "saved")
    assert row["text"] == "a tone"
    waveform = AudioModality().read(row["audio"])
    np.testing.assert_array_equal(waveform.samples, tone)
    assert AudioModality().measure(row["audio"]) == pytest.approx(0.1)


def test_a_directory_that_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(KitError, match="not a saved dataset"):
        read_rows(tmp_path)
    datasets.DatasetDict({"train": datasets.Dataset.from_dict({"a": [1]})}).save_to_disk(tmp_path / "splits")
    with pytest.raises(KitError, match="holds several splits; give the folder of one: train"):
        read_rows(tmp_path / "splits")


def test_json_lines_keep_working(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"a": 1}) + "\n\n" + json.dumps({"a": 2}))
    assert read_rows(tmp_path / "a.jsonl") == [{"a": 1}, {"a": 2}]


def test_weights_make_the_shortest_epoch_that_leaves_no_row_out(tmp_path):
    _, processor = toys.picture_model(tmp_path / "llm")
    said = [{"from": "human", "value": "what?"}, {"from": "gpt", "value": "that"}]
    for name, count in (("a", 30), ("b", 7)):
        (tmp_path / f"{name}.json").write_text(json.dumps([{"id": n, "conversations": said} for n in range(count)]))
    sources = [Source(path=str(tmp_path / "a.json"), weight=3), Source(path=str(tmp_path / "b.json"), weight=2)]

    def counts(seed):
        dataset = ConversationDataset.from_sources(sources, processor, seed=seed)
        named = [c.name.rpartition("/")[2] for c in dataset.conversations]
        return Counter(name for name in named if name[0] == "a"), Counter(name for name in named if name[0] == "b")

    a, b = counts(0)
    assert set(a.values()) == {1}
    assert (len(a), len(b), b.total()) == (30, 7, 20)
    assert set(b.values()) == {2, 3}
    assert counts(0) == (a, b)
    assert counts(1) != (a, b)
    with pytest.raises(KitError, match="some sources have a weight and some have none"):
        ConversationDataset.from_sources([sources[0], Source(path=str(tmp_path / "b.json"))], processor)


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
