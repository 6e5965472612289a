"""Answers that hold items: at once, and in pieces."""

from __future__ import annotations

import pytest
import torch

from tests.strokes import LINE, drawing, drawing_model, drawn  # noqa: F401 (a fixture)
from tinyllava_kit import KitError
from tinyllava_kit.core.decoders import TokenDecoder
from tinyllava_kit.inference.answering import answer, question
from tinyllava_kit.inference.replies import replies, reply
from tinyllava_kit.inference.segments import GeneratedItem

pytestmark = pytest.mark.usefixtures("drawing")

# Where every text id would end the answer, it holds a drawing at once, and ends behind it.
AT_ONCE = {"force": ["drawing"], "eos_token_id": list(range(320)), "max_new_tokens": 61}


@pytest.fixture(params=range(4))
def made(request, tmp_path):
    """Models that draw something or other, in as many ways."""
    return drawing_model(tmp_path, seed=request.param)


def test_pieces_joined_are_what_is_decoded_at_once(made):
    model, processor = made
    conversation = question("draw", [], processor)
    shown = []
    streamed = reply(model, processor, conversation, shown.append, **AT_ONCE)
    (whole,) = replies(model, processor, [conversation], **AT_ONCE)
    assert streamed == whole
    (item,) = whole.items("drawing")
    pieces = [part.item for part in shown if isinstance(part, GeneratedItem)]
    assert len(pieces) >= sum(map(len, item.item))  # a piece a point
    assert processor.modalities["drawing"].join(pieces) == item.item


def test_a_decoder_that_does_not_stream_gives_the_same_at_the_end(made, monkeypatch):
    model, processor = made
    conversation = question("draw", [], processor)
    expected = reply(model, processor, conversation, lambda part: None, **AT_ONCE)
    monkeypatch.setattr(type(model.decoders["drawing"]), "stream", TokenDecoder.stream)
    shown = []
    assert reply(model, processor, conversation, shown.append, **AT_ONCE) == expected
    assert len([part for part in shown if isinstance(part, GeneratedItem)]) == 1


@pytest.mark.parametrize("length", [2, 8, 9, 10])
def test_an_item_that_is_cut_off_keeps_its_whole_steps_and_says_so(length, tmp_path):
    model, processor = drawing_model(tmp_path)
    model.decoders["drawing"].rows.head.data[1] = -100 * model.decoders["drawing"].rows.head.data[1].sign()
    how = {**AT_ONCE, "max_new_tokens": length}
    conversation = question("draw", [], processor)
    (whole,) = replies(model, processor, [conversation], **how)
    assert reply(model, processor, conversation, lambda part: None, **how) == whole
    if length < 4:
        assert whole.items("drawing") == []
        return
    (item,) = whole.items("drawing")
    if not item.closed:
        assert (sum(map(len, item.item)), item.dropped) == divmod(length - 1, 3)


def test_a_batch_answers_as_each_alone(made):
    model, processor = made
    asked = [question(text, [], processor) for text in ("draw", "draw a much longer line", "hello")]
    together = replies(model, processor, asked, **AT_ONCE)
    assert together == [replies(model, processor, [each], **AT_ONCE)[0] for each in asked]


def test_words_are_shown_as_they_come(made):
    model, processor = made
    conversation = question("draw", [], processor)
    how = {"forbid": ["drawing"], "max_new_tokens": 12, "eos_token_id": []}
    shown = []
    said = reply(model, processor, conversation, shown.append, **how)
    assert said.text == "".join(shown).strip()
    assert said.text == replies(model, processor, [conversation], **how)[0].text
    assert answer(model, processor, [conversation], max_new_tokens=12, eos_token_id=[])[0] == said.text


def test_an_answer_in_words_holds_no_item(made):
    model, processor = made
    assert isinstance(answer(model, processor, [question("draw", [], processor)], max_new_tokens=20)[0], str)
    rows = model.decoders["drawing"].rows
    rows.head.data[0] = 50 * torch.ones_like(rows.head[0])  # would win often
    batch = processor([[{"role": "user", "content": "draw"}]])
    free = model.generate(**batch, max_new_tokens=20, do_sample=False)
    forbidden = model.generate(**batch, max_new_tokens=20, do_sample=False, forbid=["drawing"])
    assert int(forbidden.max()) < processor.grammar.first
    assert free.shape[0] == 1


def test_what_was_drawn_before_is_part_of_the_prompt(made):
    model, processor = made
    history = processor.conversation([*drawn("a line", LINE), {"role": "user", "content": "again"}])
    (said,) = replies(model, processor, [history], **AT_ONCE)
    assert said.items("drawing")


def test_a_modality_that_the_model_does_not_make_is_refused(made):
    model, processor = made
    with pytest.raises(KitError, match="the model does not make 'drawings'; did you mean 'drawing'"):
        replies(model, processor, [question("draw", [], processor)], force=["drawings"])
