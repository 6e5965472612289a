"""``tinyllava ask``: what is printed, and every wrong turn in one line with exit code 2."""

from __future__ import annotations

import io
import json
import sys

import pytest

from tests.cli.running import in_this_process, refused
from tinyllava_kit.checkpoints import loading

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["nowhere", "x"], "no model directory 'nowhere'"),
        (["modle", "x"], "no model directory 'modle'; did you mean 'model'?"),
        (["images", "x"], "'images' is not a model directory"),
        (["model", "--image", "gone.png", "x"], "gone.png"),
        (["model", "--image", "rows.json", "x"], "rows.json"),
        (["model", "--image", "bad/cut.png", "x"], "cannot read image 'bad/cut.png': image file is truncated"),
        (["model", "--image", "bad/empty", "x"], "cannot read image 'bad/empty': damaged, or not one of JPEG"),
        (["model", "--image", "images", "x"], "image 'images' is not a file"),
        (["hearing", "--audio", "gone.wav", "x"], "cannot open 'gone.wav': No such file"),
        (["hearing", "--audio", "bad/cut.wav", "x"], "'bad/cut.wav' is truncated"),
        (["hearing", "--audio", "bad/empty", "x"], "cannot decode 'bad/empty'"),
        (["hearing", "--audio", "bad", "x"], "cannot open 'bad': Is a directory"),
        (["hearing", "--audio", "images/0.png", "x"], "cannot decode 'images/0.png'"),
        (["hearing", "--audio", "rows.json", "x"], "cannot decode 'rows.json'"),
        (["model", "what? " * 300], "and leaves no room for an answer; the LLM has 512"),
        (["model"], "Missing argument 'QUESTION'; see 'tinyllava ask --help'"),
        (["model", "--item", "images/0.png", "x"], "--item needs MODALITY=FILE"),
        (["model", "--item", "audio=images/0.png", "x"], "the model does not read 'audio'; it reads image"),
        (["model", "<image> x"], "the question has 1 <image>, 0 image item(s) are given"),
        (["model", "--image", "images/0.png", "--image", "images/1.png", "<image> x"], "1 <image>, 2 image item(s)"),
    ],
)
def test_a_question_that_cannot_be_asked_is_one_line(damaged, words, match, monkeypatch, capfd):
    monkeypatch.chdir(damaged)
    done = in_this_process("ask", *words, capfd=capfd)
    refused(done, match)
    assert done.stdout == ""


def test_a_question_from_standard_input_and_its_answer_as_json(assembled, monkeypatch, capfd):
    monkeypatch.chdir(assembled)
    words = ["ask", "model", "--image", "images/0.png", "--max-new-tokens", "4"]
    said = in_this_process(*words, "is <image> it?", capfd=capfd).stdout
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"is <image> it?\n")))
    done = in_this_process(*words, "-", "--json", "--device", "cpu", "--dtype", "float32", capfd=capfd)
    assert json.loads(done.stdout) == {
        "model": "model",
        "question": "is <image> it?",
        "items": [{"modality": "image", "file": "images/0.png"}],
        "answer": said.strip(),
        "written": [],
    }


def test_an_item_is_read_before_the_model(damaged, monkeypatch, capfd):
    monkeypatch.chdir(damaged)
    monkeypatch.setattr(loading, "read_pretrained", lambda *args, **kwargs: pytest.fail("the model was loaded"))
    done = in_this_process("ask", "model", "--image", "bad/cut.png", "what?", capfd=capfd)
    assert done.returncode == 2
    assert "bad/cut.png" in done.stderr
