"""Conversations to batches: several items anywhere, exact labels, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.core.conversation import Item
from tinyllava_kit.core.spans import IGNORE_INDEX


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processor")
    toys.save_pictures(folder)
    model, processor = toys.picture_model(folder / "llm")
    return model, processor, folder


def row(*values, **fields):
    said = [{"from": "human" if n % 2 == 0 else "gpt", "value": v} for n, v in enumerate(values)]
    return {"conversations": said, **fields}


def test_a_row_and_its_messages_give_one_batch(made):
    _, processor, folder = made
    picture = str(folder / "0.png")
    as_row = processor(row("look: <image> what?", "a cat", image=picture), labels=True)
    content = ["look: ", {"type": "image", "image": picture}, " what?"]
    as_messages = processor(
        [{"role": "user", "content": content}, {"role": "assistant", "content": "a cat"}], labels=True
    )
    for name in ("input_ids", "labels", "attention_mask"):
        assert torch.equal(as_row[name], as_messages[name])


def test_labels_are_the_answers_and_their_end_and_nothing_else(made):
    _, processor, folder = made
    batch = processor(row("<image> what?", "a cat", "sure?", "yes", image=str(folder / "0.png")), labels=True)
    learned = batch["labels"][0][batch["labels"][0] != IGNORE_INDEX].tolist()
    answers = [processor.tokenizer(f"{text}</s>", add_special_tokens=False)["input_ids"] for text in ("a cat", "yes")]
    decoded = processor.tokenizer.decode(learned)
    assert decoded.count("</s>") == 2
    assert learned.count(processor.tokenizer.eos_token_id) == 2
    assert decoded.replace(" ", "") == "acat</s>yes</s>", answers


def test_text_that_spells_a_placeholder_in_messages_stays_text(made):
    _, processor, _ = made
    batch = processor([{"role": "user", "content": "what does <image> mean?"}])
    assert "items" not in batch
    assert "<image>" in processor.tokenizer.decode(batch["input_ids"][0])


@pytest.mark.parametrize(
    ("sources", "text", "match"),
    [
        ({"image": "0.png"}, "no place", r"the text has 0 <image> and the row names 1 image source"),
        ({}, "<image> here", r"the text has 1 <image> and the row names 0 image source"),
        ({"image": ["0.png", "1.png"]}, "<image>", r"the text has 1 <image> and the row names 2 image source"),
    ],
)
def test_placeholders_and_sources_must_be_as_many(made, sources, text, match):
    _, processor, _ = made
    with pytest.raises(KitError, match=match):
        processor(row(text, "x", id="r7", **sources), labels=True)


def test_errors_name_the_row(made):
    _, processor, _ = made
    with pytest.raises(KitError, match=r"row 'r7': the text has 1 <image>"):
        processor(row("<image>", "x", id="r7"), labels=True)


def test_an_item_that_cannot_be_read_names_its_row_however_it_is_read(made):
    _, processor, _ = made
    conversation = processor.conversation(row("<image>", "x", id="r7", image="gone.png"), name="a/b.json[3]")
    for read in (lambda: processor.encode(conversation), lambda: processor.read_item(conversation.items[0])):
        with pytest.raises(KitError, match=r"^a/b\.json\[3\] 'r7': image 'gone\.png' does not exist"):
            read()
    with pytest.raises(KitError, match=r"^image 'gone\.png' does not exist"):  # of a question, not of data
        processor.read_item(Item("image", "gone.png"))


@pytest.mark.parametrize(
    ("messages", "match"),
    [
        ([{"role": "usr", "content": "x"}], r"message 0: role 'usr'; did you mean 'user'\?"),
        (
            [{"role": "user", "content": [{"type": "imag", "imag": "x"}]}],
            r"part of type 'imag'; did you mean 'image'\?",
        ),
        ([{"role": "user", "content": [{"type": "image"}]}], r"a part of type 'image' names no source"),
        ([{"role": "user", "content": [{"type": "image", "image": "gone.png"}]}], r"gone\.png"),
    ],
)
def test_bad_messages_are_one_clear_line(made, messages, match):
    _, processor, _ = made
    with pytest.raises(KitError, match=match) as error:
        processor(messages)
    assert "\n" not in str(error.value)


def test_tiles_are_items_of_their_own_with_true_counts(tmp_path):
    from tinyllava_kit import assemble

    toys.save_pictures(tmp_path)
    assembly = toys.picture_assembly(toys.save_llama(tmp_path / "llm"), "linear", **{"modality.image.aspect": "tiles"})
    model, processor = assemble(assembly)
    batch = processor([{"role": "user", "content": [{"type": "image", "image": str(tmp_path / "0.png")}, "?"]}])
    items = batch["plan"].items
    assert len(items) > 1
    assert {item.num_tokens for item in items} == {4}
    with torch.no_grad():
        assert model(**batch).logits.shape[1] == batch["input_ids"].shape[1]


@pytest.mark.parametrize("aspect", ["square", "pad", "tiles"])
@pytest.mark.parametrize("connector", ["linear", "pixel_shuffle_mlp", "resampler"])
def test_a_probe_counts_what_encoding_counts_and_decodes_nothing(tmp_path, monkeypatch, aspect, connector):
    from tinyllava_kit import assemble

    names = [str(tmp_path / name) for name in toys.save_pictures(tmp_path)]
    options = {"modality.image.aspect": aspect}
    if connector == "resampler":
        options["connector.image.num_queries"] = "3"
    _, processor = assemble(toys.picture_assembly(toys.save_llama(tmp_path / "llm"), connector, **options))
    conversation = processor.conversation(row("<image>\nhow? <image>", "so", "and?", "so", image=names[:2]))
    encoded = processor.encode(conversation)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    probe = processor.probe(conversation)
    assert probe.spans == encoded.spans
    assert probe.num_tokens == encoded.num_tokens
    assert [item.num_features for item in probe.items] == [item.num_features for item in encoded.items]
    assert not any(item.rows for item in probe.items)


def test_a_batch_moves_with_its_plan_and_only_floats_change_dtype(made):
    _, processor, folder = made
    batch = processor(row("<image>", "x", image=str(folder / "0.png")), labels=True).to("cpu", torch.bfloat16)
    assert batch["items"]["image"]["pixel_values"].dtype == torch.bfloat16
    assert batch["input_ids"].dtype == torch.int64
    assert batch["plan"].text_positions.dtype == torch.int64


def test_what_is_saved_is_json_and_loads_equal(made, tmp_path):
    from tinyllava_kit import TinyLlavaProcessor

    _, processor, folder = made
    processor.save_pretrained(tmp_path / "p")
    json.loads((tmp_path / "p" / "processor_config.json").read_text())
    again = TinyLlavaProcessor.from_pretrained(tmp_path / "p")
    asked = row("<image> what?", image=str(folder / "1.png"))
    one, two = processor(asked), again(asked)
    assert torch.equal(one["input_ids"], two["input_ids"])
    assert torch.equal(one["items"]["image"]["pixel_values"], two["items"]["image"]["pixel_values"])
