"""The processor called as transformers' processors are: prompts with items, chat templates, pipelines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import pipeline

from tests.processing.asking import asked, equal, picture, text
from tinyllava_kit import KitError
from tinyllava_kit.processing.prompting import read_arguments

MODALITIES = ("image", "sound")


@pytest.fixture(scope="module")
def made(prompted):
    return prompted


def test_a_prompt_and_its_pictures_are_the_batch_of_the_messages(made):
    _, processor, (one, two, _) = made
    messages = asked([picture(one), text("and "), picture(two), text("?")])
    prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
    assert prompt == "<user><image>and <image>?</s><assistant>"
    equal(processor(text=prompt, images=[one, two], return_tensors="pt"), processor(messages))
    equal(processor(prompt, image=[one, two]), processor(messages))


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "one list a prompt"])
def test_items_are_dealt_to_prompts_in_order(made, nested):
    _, processor, (one, two, three) = made
    several = [asked([picture(one), text("?")]), asked([picture(two), picture(three), text("which?")]), asked("none")]
    prompts = processor.apply_chat_template(several, add_generation_prompt=True)
    images = [[one], [two, three], []] if nested else [one, two, three]
    equal(processor(text=prompts, images=images, padding=True, return_tensors="pt"), processor(several))


@pytest.mark.parametrize("counts", [(0,), (2,)])
def test_each_placeholder_takes_one_item(made, counts):
    _, processor, pictures = made
    images = pictures[: counts[0]] or None
    with pytest.raises(KitError, match=rf"text\[0\]: \[1\] placeholder\(s\) of image in the prompts, \[{counts[0]}\]"):
        processor(text="<image>?", images=images)


def test_items_of_another_prompt_are_not_taken(made):
    _, processor, (one, two, _) = made
    with pytest.raises(KitError, match=r"text\[0\]: \[1, 1\] placeholder"):
        processor(text=["<image>?", "<image>?"], images=[[one, two], []])


def test_parts_without_a_source_take_the_pictures_of_the_call(made):
    _, processor, (one, two, _) = made
    empty, full = asked([picture(), text("or "), picture()]), asked([picture(one), text("or "), picture(two)])
    how = {"tokenize": True, "return_dict": True, "add_generation_prompt": True}
    equal(processor.apply_chat_template(empty, processor_kwargs={"images": [one, two]}, **how), processor(full))
    equal(processor(empty, images=[one, two]), processor(full))
    assert processor.apply_chat_template(empty) == processor.apply_chat_template(full)
    with pytest.raises(KitError, match=r"1 item\(s\) of image more than the messages have parts"):
        processor(full, images=[one])


def test_arrays_take_the_rate_of_the_call():
    given = read_arguments({"sounds": [np.zeros(3)], "sampling_rate": 16000}, MODALITIES)
    assert given.sampling_rate == 16000
    again = read_arguments({"sound": [np.zeros(3)], "sound_kwargs": {"sampling_rate": 8000}}, MODALITIES)
    assert again.sampling_rate == 8000
    assert list(again.items) == ["sound"]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"imges": []}, "takes no 'imges'; did you mean 'images'"),
        ({"return_tensors": "np"}, "return_tensors='np' is not supported"),
        ({"padding": "max_length"}, "padding='max_length' is not supported"),
        ({"images_kwargs": {"do_resize": False}}, "how items are prepared belongs to the model"),
        ({"videos_kwargs": {"fps": 2}}, "videos_kwargs"),
        ({"tools": [{}]}, "takes no 'tools'"),
    ],
)
def test_what_cannot_be_honoured_is_refused(made, given, match):
    _, processor, _ = made
    for call in (
        lambda: processor(text="hello", **given),
        lambda: processor.apply_chat_template(asked("hello"), tokenize=True, return_dict=True, **given),
    ):
        with pytest.raises(KitError, match=match):
            call()


def test_one_of_text_and_conversations_is_wanted(made):
    _, processor, _ = made
    for call in (lambda: processor(), lambda: processor(asked("a"), text="b")):
        with pytest.raises(KitError, match="give one of the two"):
            call()
    with pytest.raises(KitError, match="expected a prompt or a list of prompts"):
        processor(text=3)
    with pytest.raises(KitError, match="labels are made of conversations"):
        processor(text="b", labels=True)


def test_truncation_of_a_prompt_is_asked_for(made):
    _, processor, _ = made
    whole = processor(text="what is it here?")["input_ids"].shape[1]
    assert processor(text="what is it here?", max_length=3)["input_ids"].shape[1] == whole
    assert processor(text="what is it here?", max_length=3, truncation=True)["input_ids"].shape[1] == 3


@pytest.mark.parametrize("name", ["auto", "llama"])
def test_a_prompt_is_what_jinja_renders_and_what_the_processor_takes(made, name):
    _, processor, (one, _, _) = made
    processor = processor.with_template(name)
    messages = asked([picture(one), text("what?")])
    prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
    rendered = processor.tokenizer.apply_chat_template(
        messages, chat_template=processor.chat_template, add_generation_prompt=True, tokenize=False
    )
    assert prompt == rendered
    equal(processor(text=prompt, images=one), processor(messages))


def test_a_mark_of_a_cut_in_a_text_is_dropped(made):
    _, processor, _ = made
    assert processor(asked("a\x01b\x00c"))["input_ids"].tolist() == processor(asked("abc"))["input_ids"].tolist()


@pytest.mark.parametrize("task", ["image-text-to-text", "any-to-any"])
def test_pipelines_answer_as_generate_does(made, task):
    path, processor, (one, two, _) = made
    how = {"max_new_tokens": 4, "do_sample": False}
    pipe = pipeline(task, model=str(path), device="cpu")
    ids = {"generate_kwargs": how, "return_tensors": True}
    several = [asked([picture(one), text("what?")]), asked([picture(two), text("and?")])]
    answers = [pipe.model.generate(**processor(messages), **how)[0] for messages in several]
    for messages, answer in zip(several, answers, strict=True):
        (said,) = pipe(text=messages, **ids)
        assert torch.equal(said["generated_token_ids"], answer)
    prompt = processor.apply_chat_template(several[0], add_generation_prompt=True)
    (said,) = pipe({"text": prompt, "images": one}, **ids)
    assert torch.equal(said["generated_token_ids"], answers[0])
    (said,) = pipe(text=several[0], generate_kwargs=how)
    assert said["generated_text"][-1]["role"] == "assistant"
    with pytest.raises(KitError, match=r"padded on the left; .*pipe.tokenizer.padding_side = 'left'"):
        pipe(text=several, batch_size=2, generate_kwargs=how)
    pipe.tokenizer.padding_side = "left"
    said = pipe(text=several, batch_size=2, **ids)
    for (mine,), answer in zip(said, answers, strict=True):
        assert torch.equal(mine["generated_token_ids"][-len(answer) :], answer)


def test_a_collator_that_makes_labels_of_the_ids_teaches_text_alone(made):
    """The calls of TRL's collator for pictures, in its words: a model's own labels, and the question as well."""
    _, processor, (one, two, three) = made
    several = [asked([picture(one), picture(two), text("which?")], answer="it"), asked("none?", answer="yes, it is so")]
    several.append(asked([text("like "), picture(three)], answer="no"))
    options = {"padding": True, "padding_side": "right", "pad_to_multiple_of": None, "add_special_tokens": False}
    options |= {"truncation": True, "max_length": 400}
    batch = processor.apply_chat_template(
        several,
        chat_template=None,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        return_assistant_tokens_mask=False,
        processor_kwargs=options,
    )
    labels = batch["input_ids"].clone()
    labels[batch["attention_mask"] == 0] = -100
    batch["labels"] = labels
    exact = processor(several, labels=True)
    equal(batch, exact)
    learned = exact["labels"] != -100
    assert torch.equal(batch["labels"][learned], exact["labels"][learned])
    text_positions = torch.zeros(batch["input_ids"].numel(), dtype=torch.bool)
    text_positions[exact["plan"].text_positions] = True
    assert torch.equal(batch["labels"].flatten() != -100, text_positions)
    assert torch.equal(labels[batch["labels"] == -100].unique(), torch.tensor([-100, processor.pad_id]))


def test_padding_to_a_multiple_is_refused(made):
    with pytest.raises(KitError, match="pad_to_multiple_of=8 is not supported"):
        made[1](text="like", pad_to_multiple_of=8)
