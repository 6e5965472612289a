"""Conversations as samples, and batches of them."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests import toys
from tinyllava_kit import KitError, TinyLlavaProcessor
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.core.conversation import ITEM
from tinyllava_kit.data.dataset import Collator, ConversationDataset, mixed
from tinyllava_kit.data.sources import Source


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    toys.save_picture_model(folder)
    toys.picture_rows(folder)
    return folder


def test_a_batch_with_nothing_to_learn_names_its_rows(place):
    _, processor = load_pretrained(place / "model")
    dataset = ConversationDataset.from_file(place / "rows.json", processor)
    with pytest.raises(KitError, match=r"nothing to learn in .*/rows\.json\[0\] 'row-0'.*max_length 3 cuts it off"):
        Collator(processor, max_length=3)([dataset[0]])


PICTURE_PAIRS = {"modality": "image", "prompts": ["What is it?"]}


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


def test_a_sample_is_what_the_processor_encodes_and_a_batch_counts_what_it_cut(place):
    processor = TinyLlavaProcessor.from_pretrained(place / "model")
    dataset = ConversationDataset.from_file(place / "rows.json", processor)
    rows = json.loads((place / "rows.json").read_text())
    assert [conversation.name for conversation in dataset.conversations] == [
        f"{place / 'rows.json'}[{n}] '{row['id']}'" for n, row in enumerate(rows)
    ]
    for number in (0, 2):
        alone = processor.encode(dataset.conversations[number])
        assert list(dataset[number].spans) == list(alone.spans)
    lengths = [dataset[n].num_tokens for n in range(len(dataset))]
    collate = Collator(processor, max(lengths) - 1)
    collate([dataset[n] for n in range(len(dataset))])
    assert collate.num_cut == sum(length == max(lengths) for length in lengths)
    packed = Collator(processor)([dataset[0], dataset[2], dataset[1]], packs=[2, 1])
    assert packed["input_ids"].shape == (2, max(lengths[0] + lengths[2], lengths[1]))


def test_sources_with_and_without_a_weight_do_not_mix():
    one, other = Source(path="a.json", weight=1), Source(path="b.json")
    assert mixed([[1, 2], [3]], [other, other], 0) == [1, 2, 3]
    with pytest.raises(KitError, match="some sources have a weight and some have none; give each one"):
        mixed([[1], [2]], [one, other], 0)


def test_a_row_that_is_no_conversation_is_named(place):
    processor = TinyLlavaProcessor.from_pretrained(place / "model")
    with pytest.raises(KitError, match=r"mine\[1\]: needs 'conversations' or 'messages'"):
        ConversationDataset([{"messages": [{"role": "user", "content": "a"}]}, {"text": "b"}], processor, name="mine")
    assert len(ConversationDataset([], processor)) == 0
