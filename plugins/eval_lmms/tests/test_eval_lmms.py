"""A toy model asked as lmms-eval asks, against asking it directly."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points

import pytest
import torch
from PIL import Image

from tests import toys
from tinyllava_kit import KitError, answer, load_pretrained
from tinyllava_kit.interfaces import ITEM, Conversation, Item, Turn

SHORT = {"max_new_tokens": 5, "temperature": 0, "do_sample": False}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    toys.save_picture_model(folder)
    toys.save_pictures(folder, 4)
    return folder


@pytest.fixture
def wrapped(saved):
    """``wrapped(**arguments)`` -> the model as lmms-eval makes it, with a task of four documents."""
    made = importlib.import_module("tinyllava_kit_eval_lmms.model")

    def make(**arguments):
        model = made.TinyLlavaKit(str(saved / "model"), **arguments)
        model.task_dict = {"task": {"test": [{"n": n, "picture": picture(saved / f"{n}.png")} for n in range(4)]}}
        return model

    return make


def picture(file):
    with Image.open(file) as opened:
        return opened.convert("RGB")


def to_messages(document):
    text = {"type": "text", "text": f"what is {document['n']}?"}
    return [{"role": "user", "content": [{"type": "image", "url": document["picture"]}, text]}]


def requests(*options, messages=to_messages):
    from lmms_eval.api.instance import Instance

    made = []
    for document, given in enumerate(options):
        arguments = (f"what is {document}?", messages, given, document, "task", "test")
        try:
            made.append(Instance(arguments))
        except TypeError:  # lmms-eval's own
            metadata = {"task": "task", "doc_id": document, "repeats": 1}
            made.append(Instance("generate_until", arguments, 0, metadata=metadata))
    return made


def directly(saved, count, **options):
    model, processor = load_pretrained(saved / "model")
    asked = []
    for n in range(count):
        item = Item("image", str(saved / f"{n}.png"))
        asked.append(Conversation((Turn("user", f"{ITEM}\nwhat is {n}?"),), (item,)))
    return [answer(model, processor, [one], **options)[0] for one in asked]


def test_the_entry_point_names_a_model_of_messages():
    (point,) = entry_points(group="lmms_eval.models", name="tinyllava_kit")
    manifest = point.load()()
    module, _, name = manifest.chat_class_path.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    assert (manifest.model_id, manifest.simple_class_path, cls.is_simple) == ("tinyllava_kit", None, False)


@pytest.mark.parametrize("batch_size", [1, 3, "4"])
def test_answers_are_those_of_asking_one_by_one(saved, wrapped, batch_size):
    model = wrapped(batch_size=batch_size)
    said = model.generate_until(requests(*[SHORT] * 4))
    assert said == directly(saved, 4, max_new_tokens=5)
    assert len(set(said)) > 1


def test_the_llms_own_penalties_change_no_answer(saved, wrapped):
    plain = wrapped().generate_until(requests(*[SHORT] * 2))
    model = wrapped()
    model.model.generation_config.repetition_penalty = 1.9
    assert model.generate_until(requests(*[SHORT] * 2)) == plain
    assert model.model.generation_config.repetition_penalty == 1.9


def test_requests_of_other_options_are_asked_apart_and_keep_their_places(saved, wrapped):
    short, long = {"max_new_tokens": 2}, {"max_new_tokens": 7}
    said = wrapped(batch_size=4).generate_until(requests(short, long, short, long))
    wanted = [directly(saved, 4, max_new_tokens=n) for n in (2, 7)]
    assert said == [wanted[n % 2][n] for n in range(4)]


def test_an_answer_ends_before_a_text_of_until(saved, wrapped):
    (whole,) = directly(saved, 1, max_new_tokens=12)
    mark = whole[len(whole) // 2]
    for until in (mark, ["\x01", mark]):
        (said,) = wrapped().generate_until(requests({"max_new_tokens": 12, "until": until}))
        assert said == whole[: whole.index(mark)].strip()


def test_items_in_front_stand_on_lines_and_others_where_they_are(wrapped):
    made = importlib.import_module("tinyllava_kit_eval_lmms.model")
    item, text = {"type": "image", "url": "a.png"}, {"type": "text", "text": "like"}
    for content, wanted in (
        ([item, item, text], [item, "\n", item, "\n", text]),
        ([text, item, text], [text, item, text]),
        ([item, text, item], [item, "\n", text, item]),
        ([text], [text]),
    ):
        assert made._in_front({"role": "user", "content": content})["content"] == wanted
    assert made._in_front({"role": "user", "content": "like"})["content"] == "like"


def test_sampling_follows_the_task(saved, wrapped):
    hot = {"max_new_tokens": 9, "temperature": 50.0, "do_sample": True, "top_p": 0.99}
    torch.manual_seed(0)
    drawn = wrapped().generate_until(requests(hot))
    assert drawn != directly(saved, 1, max_new_tokens=9)
    made = importlib.import_module("tinyllava_kit_eval_lmms.model")
    assert made._options({"temperature": 0, "do_sample": True, "top_p": None, "num_beams": 2}) == (
        {"max_new_tokens": None, "do_sample": False, "num_beams": 2},
        [],
    )


def test_what_the_model_does_not_read_is_named(wrapped):
    def video(document):
        return [{"role": "user", "content": [{"type": "video", "url": "a.mp4"}]}]

    with pytest.raises(KitError, match=r"task test\[0\]: message 0: part of type 'video'"):
        wrapped().generate_until(requests(SHORT, messages=video))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"batch_size": "auto"}, "batch_size is 'auto'; expected a number of questions"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"dtype": "float8"}, "dtype is 'float8'; expected auto, float32"),
    ],
)
def test_an_argument_that_makes_no_sense_is_named(wrapped, arguments, match):
    with pytest.raises(KitError, match=match):
        wrapped(**arguments)


def test_several_processes_are_refused(wrapped, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(KitError, match="runs in one process"):
        wrapped()


def test_what_is_not_there_says_so(wrapped):
    model = wrapped()
    with pytest.raises(NotImplementedError, match="not those that compare likelihoods"):
        model.loglikelihood([])
    with pytest.raises(NotImplementedError, match="tasks of one round"):
        model.generate_until_multi_round([])
