"""Stages with ``items: text``: the LLM learns with each item's text in the item's place."""

from __future__ import annotations

import itertools
import json

import pytest
import yaml

from tests import toys
from tests.training.runs import losses, write_recipe
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.data.dataset import ConversationDataset
from tinyllava_kit.data.sources import Source
from tinyllava_kit.data.stream import RowStream
from tinyllava_kit.training.checks.data_check import check_data
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = pytest.mark.slow

CAPTIONS = ["a red hen", "two blue pigs", "a green cow"]
PAIRS = {"modality": "image", "text": "caption", "prompts": ["Repeat <image> now."]}
STAGE = {"items": "text", "train": {"llm": "full"}, "batch_size": 2, "learning_rate": 1e-2, "logging_steps": 1}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return toys.captioned_model(tmp_path_factory.mktemp("words"), CAPTIONS)


@pytest.fixture(scope="module")
def processor(place):
    return load_pretrained(place / "model")[1]


def pairs(place, **more):
    return {"path": str(place / "pairs.jsonl"), "pairs": PAIRS, **more}


def text_of(processor, sample):
    return processor.tokenizer.decode([i for span in sample.spans for i in span.ids], skip_special_tokens=True)


def test_the_text_stands_where_the_item_stood_and_no_item_is_left(place, processor):
    dataset = ConversationDataset.from_sources([Source(**pairs(place))], processor, in_words=True)
    assert all(not sample.items for sample in (dataset[0], dataset[1]))
    said = text_of(processor, dataset[0])
    assert said.index("Repeat") < said.index("a red hen") < said.index("now.") < said.rindex("a red hen")


def test_a_stream_reads_the_same_words(place, processor):
    held = ConversationDataset.from_sources([Source(**pairs(place))], processor, in_words=True)
    stream = RowStream([Source(**pairs(place, stream=True))], processor, batch_size=1, in_words=True)
    read = [batch[0] for batch in itertools.islice(stream, len(held))]
    assert sorted(text_of(processor, s) for s in read) == sorted(text_of(processor, s) for s in held)


def test_the_llm_learns_and_no_picture_is_read(place):
    """The pictures are gone: only their texts are used."""
    rows = [json.loads(line) for line in (place / "pairs.jsonl").read_text().splitlines()]
    gone = place / "gone.jsonl"
    gone.write_text("".join(json.dumps({**row, "image": f"gone/{n}.png"}) + "\n" for n, row in enumerate(rows)))
    path = write_recipe(place, "told", {**STAGE, "data": {**pairs(place, repeat=8), "path": str(gone)}})
    (report,) = check_data(Recipe.from_yaml(path))
    assert not report.findings
    assert set(report.tokens) == {"text"}
    run_recipe(Recipe.from_yaml(path))
    found = losses(place, "told")
    assert found[-1] < 0.5 * found[0]


def test_an_item_without_a_text_is_refused_by_its_row(place):
    (place / "mute.json").write_text(
        json.dumps(
            [
                {
                    "id": "r",
                    "image": "0.png",
                    "conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "a"}],
                }
            ]
        )
    )
    path = write_recipe(place, "mute", {**STAGE, "data": str(place / "mute.json")})
    with pytest.raises(
        KitError, match=r"mute\.json\[0\] 'r': an item of 'image' has no text to read in its place; use"
    ):
        run_recipe(Recipe.from_yaml(path))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            {"train": {"llm": "full", "connector.image": "full"}},
            "items: text trains the LLM alone; take connector.image",
        ),
        ({"train": {"llm": "full"}, "cache_features": True}, "cache_features needs the items' files; take it or"),
        ({"items": "words"}, r"stages\.0\.items: Input should be 'files' or 'text', got 'words'"),
    ],
)
def test_what_does_not_go_with_it_is_refused(tmp_path, more, told):
    stage = {"name": "s", "data": "a.json", **STAGE, **more}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"model": "m", "output": "o", "stages": [stage]}))
    with pytest.raises(KitError, match=told):
        Recipe.from_yaml(tmp_path / "r.yaml")


def test_what_decoders_write_stays(processor):
    row = {
        "messages": [
            {"role": "user", "content": [{"type": "image", "image": "a.png", "text": "a hen"}]},
            {"role": "assistant", "content": [{"type": "image", "image": "b.png", "text": "a cow"}]},
        ]
    }
    conversation = processor.conversation(row)
    assert not conversation.in_words().items
    kept = conversation.in_words(["image"])
    assert [item.source for item in kept.items] == [item.source for item in conversation.items[1:]]
