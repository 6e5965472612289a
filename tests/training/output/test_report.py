"""The page of a stage: curves, answers, parts and the command, and no text of the data as its own."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.core.conversation import Conversation, Item, Turn
from tinyllava_kit.training.output.history import StageRecord, _command_line
from tinyllava_kit.training.output.report import Answered, report

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """Tags that are open, and those that were seen; fails where they do not nest."""

    void = ("meta", "img", "polyline")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_has_curves_answers_parts_and_the_command(left):
    page = Page()
    page.feed((left / "second" / "run.html").read_text(encoding="utf-8"))
    assert not page.open
    text = " ".join(page.text)
    assert {"polyline", "table", "img"} <= set(page.seen)
    assert page.seen.count("svg") == 3  # loss, rate, speed
    for said in ("stage second", "loss_image", "learning rate", "3 steps", "connector.image", "lora", "question 0?"):
        assert said in text
    assert _command_line() in text  # that was typed
    model, processor = load_pretrained(left / "second")
    asked = [{"role": "user", "content": "no picture 2?"}]
    ids = model.generate(**processor(asked), max_new_tokens=64, do_sample=False, pad_token_id=0)
    said = processor.decode(ids[0][processor(asked)["input_ids"].shape[1] :], skip_special_tokens=True).strip()
    assert said in text


def test_text_of_the_data_cannot_write_the_page(tmp_path):
    turns = (Turn("user", "<script>\x00</p>"), Turn("assistant", "&"))
    answered = Answered(Conversation(turns, (Item("<b>", tmp_path / "no.png"),), "<i>"), "</div>")
    record = StageRecord(
        name="<u>", command="<s>", settings={}, recipe={"name": "</pre><s>"}, parts=(), samples=1, skipped=0, steps=1,
        seconds=1.0, device="<s>", loss=0.5,
    )  # fmt: skip
    page = Page()
    page.feed(report(record, [], [answered]))
    assert not page.open
    assert not {"script", "i", "u", "s"} & set(page.seen)
    assert "<script>" in "".join(page.text)
