"""An answer while it is generated: segments that add up to the whole, read and stopped from other threads."""

from __future__ import annotations

import threading

import pytest

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.inference.answering import answer, question
from tinyllava_kit.inference.chatting import Chat
from tinyllava_kit.inference.replies import reply, stream_answer

HOW = {"max_new_tokens": 40, "eos_token_id": []}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return toys.picture_model(tmp_path_factory.mktemp("toy") / "llm")


@pytest.fixture
def steps(pair, monkeypatch):
    """How often the LLM has run."""
    model, _ = pair
    ran = []
    hook = model.get_decoder().register_forward_hook(lambda *args: ran.append(1))
    yield ran
    hook.remove()


def stream(pair, **how):
    model, processor = pair
    return stream_answer(model, processor, question("hello?", [], processor), **{**HOW, **how})


def test_what_is_iterated_is_what_is_shown_and_the_whole_answer(pair):
    model, processor = pair
    asked = question("hello?", [], processor)
    shown = []
    said = reply(model, processor, asked, shown.append, **HOW)
    reading = stream(pair)
    assert list(reading) == shown
    assert reading.reply == said
    assert [said.text] == answer(model, processor, [asked], **HOW)
    assert len(shown) > 3
    assert len(reading.ids) == 40


def test_an_ordinary_id_that_ends_an_answer_is_its_text_for_all(pair):
    model, processor = pair
    asked = question("hello?", [], processor)
    whole = stream(pair)
    assert list(whole)
    third = whole.ids[2]
    how = {**HOW, "eos_token_id": third}
    ended = stream(pair, **how)
    assert list(ended)
    assert ended.ids == whole.ids[: whole.ids.index(third) + 1]
    expected = processor.decode(ended.ids, skip_special_tokens=True).strip()
    assert ended.reply.text == expected
    assert answer(model, processor, [asked, asked], **how) == [expected] * 2
    assert Chat(model, processor, **how).say("hello?") == expected


def test_a_loop_that_is_left_stops_the_model(pair, steps):
    reading = stream(pair, max_new_tokens=400)
    for number, _ in enumerate(reading):
        if number == 2:
            break
    del _
    count = len(steps)
    assert count < 400
    assert not [each for each in threading.enumerate() if each is not threading.main_thread() and each.name == "answer"]
    assert reading.reply.text
    assert len(steps) == count


def test_a_reader_that_raises_stops_the_model_and_keeps_what_there_is(pair, steps):
    reading, seen = stream(pair, max_new_tokens=400), []

    def show(part):
        seen.append(part)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reading.run(show)
    assert reading.reply.parts == ("".join(seen),)
    assert len(steps) < 400


def test_it_is_stopped_from_another_thread(pair, steps):
    reading, third = stream(pair, max_new_tokens=400), threading.Event()
    stopper = threading.Thread(target=lambda: (third.wait(60), reading.stop()))
    stopper.start()
    seen = []
    for part in reading:
        seen.append(part)
        if len(seen) == 3:
            third.set()
            stopper.join()
    assert "".join(seen) == "".join(reading.reply.parts)
    assert len(steps) < 400


def test_one_that_is_stopped_before_it_begins_is_empty(pair, steps):
    reading = stream(pair)
    reading.stop()
    assert list(reading) == []
    assert reading.reply.parts == ()
    assert steps == []


def test_what_the_model_raises_the_reader_gets(pair):
    model, _ = pair

    def broken(*args):
        raise RuntimeError("no memory")

    hook = model.get_decoder().register_forward_pre_hook(broken)
    try:
        with pytest.raises(RuntimeError, match="no memory"):
            list(stream(pair))
    finally:
        hook.remove()


def test_an_answer_is_generated_once(pair):
    reading = stream(pair, max_new_tokens=2)
    with pytest.raises(KitError, match="is not generated yet; run the stream"):
        _ = reading.reply
    assert list(reading)
    with pytest.raises(KitError, match="an answer is generated once; make another stream"):
        reading.run(print)
    with pytest.raises(KitError, match="an answer is generated once"):
        list(reading)
