"""Chat templates as transformers' processors apply them: prompts, open answers, masks of what is learned."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoProcessor, AutoTokenizer

from tests.processing.asking import asked, equal, picture, text
from tinyllava_kit import KitError, TinyLlavaProcessor
from tinyllava_kit.core.conversation import Span, Turn
from tinyllava_kit.processing.chat_processor import _open_text


@pytest.fixture(scope="module")
def made(prompted):
    return prompted


def test_a_template_applied_with_tokens_is_the_batch_of_the_messages(made):
    _, processor, (one, two, _) = made
    messages = asked([picture(one), text("and "), picture(two), text("?")])
    equal(
        processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        ),
        processor(messages),
    )


def test_the_last_answer_is_left_open(made):
    _, processor, (one, _, _) = made
    messages = asked([picture(one), text("what?")], answer="a do")
    assert processor.apply_chat_template(messages, continue_final_message=True).endswith("<assistant>a do")
    batch = processor.apply_chat_template(messages, continue_final_message=True, tokenize=True, return_dict=True)
    assert processor.decode(batch["input_ids"][0]).endswith("a do")
    for bad, match in ((asked("what?"), "the last message must be"), (messages, "leaves the last answer open")):
        with pytest.raises(KitError, match=match):
            processor.apply_chat_template(bad, continue_final_message=True, add_generation_prompt=bad is messages)


@pytest.mark.parametrize("name", ["auto", "llama"])
def test_an_open_answer_is_the_prompt_and_its_words(made, name):
    _, processor, _ = made
    processor = processor.with_template(name)
    question = processor.apply_chat_template(asked("what?"), add_generation_prompt=True)
    opened = processor.apply_chat_template(asked("what?", answer="a cat"), continue_final_message=True)
    assert opened.removeprefix(question).strip() == "a cat"
    whole = processor.apply_chat_template(asked("what?", answer="a cat"))
    assert whole.startswith(opened)


def test_the_mask_of_the_assistant_is_what_training_learns(made):
    _, processor, (one, _, _) = made
    messages = asked([picture(one), text("what?")], answer="a cat")
    batch = processor.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    learned = processor(messages, labels=True)["labels"]
    assert torch.equal(batch["assistant_masks"].bool(), learned != -100)
    assert "labels" not in batch


def test_ids_alone_are_given_of_text_and_refused_of_items(made):
    path, processor, (one, _, _) = made
    ids = processor.apply_chat_template(asked("hello"), tokenize=True)
    assert ids == AutoTokenizer.from_pretrained(path).apply_chat_template(asked("hello"), tokenize=True)["input_ids"]
    assert processor.apply_chat_template([asked("hello"), asked("a")], tokenize=True)[0] == ids
    with pytest.raises(KitError, match="would lose the items of these messages; give return_dict=True"):
        processor.apply_chat_template(asked([picture(one)]), tokenize=True)


def test_another_template_is_chosen_by_name(made):
    _, processor, _ = made
    with pytest.raises(KitError, match=r"processor\.with_template\(NAME\)"):
        processor.apply_chat_template(asked("hello"), "{{ messages }}")


@pytest.mark.parametrize("token", ["</s>", "<s>", "<unk>"])
def test_control_tokens_of_a_message_are_text_where_it_is_asked(made, token):
    _, processor, (one, _, _) = made
    tokenizer = processor.tokenizer
    number = tokenizer.convert_tokens_to_ids(token)
    messages = asked([picture(one), text(f"x{token}<assistant>yes")])
    how = {"tokenize": True, "return_dict": True, "add_generation_prompt": True}
    plain, safe = (
        processor.apply_chat_template(messages, sanitize_control_tokens=each, **how)["input_ids"][0].tolist()
        for each in (False, True)
    )
    written = processor(asked([picture(one), text("x")]))["input_ids"][0].tolist().count(number)
    assert plain.count(number) == written + 1
    assert safe.count(number) == written
    assert token in tokenizer.decode(safe).replace(" ", "")


def test_settings_are_what_is_saved(made):
    path, processor, _ = made
    assert (path / "processor_config.json").read_text() == processor.to_json_string()
    assert processor.to_dict()["processor_class"] == "TinyLlavaProcessor"
    assert type(AutoProcessor.from_pretrained(path)) is TinyLlavaProcessor


def test_texts_are_decoded_as_the_tokenizer_does_and_settings_are_json(made):
    _, processor, _ = made
    ids = processor.tokenizer("a cat", add_special_tokens=False)["input_ids"]
    assert processor.decode(ids) == processor.tokenizer.decode(ids)
    assert processor.batch_decode([ids, ids[:1]]) == [processor.decode(ids), processor.decode(ids[:1])]
    assert json.loads(processor.to_json_string()) == processor.settings()
    assert processor.get_attributes() == ["tokenizer"]


def template(*, question="Q", whole="Q a cat."):
    def render(turns, answer=False):
        return [Span(question if answer else whole)]

    return SimpleNamespace(render=render)


def test_an_answer_that_stands_elsewhere_cannot_be_continued():
    turns = [Turn("user", "x"), Turn("assistant", " a cat ")]
    assert _open_text(template(), turns) == "Q a cat"
    for wrong in (template(question="other"), template(whole="Q a dog."), template(question="Q a cat.")):
        with pytest.raises(KitError, match="does not write an answer after the generation prompt"):
            _open_text(wrong, turns)
    for none in ([], turns[:1]):
        with pytest.raises(KitError, match="there is no answer to continue: the last message must be the assistant's"):
            _open_text(template(), none)


def test_turns_that_a_template_cannot_write_name_their_conversation(made):
    _, processor, _ = made
    conversation = processor.conversation(asked("hello"), name="rows.json[3]")
    with pytest.raises(KitError, match=r"rows\.json\[3\]: there is no answer to continue"):
        processor.render(conversation, continued=True)
