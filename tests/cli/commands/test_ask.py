"""``tinyllava ask``: what is printed, and every wrong turn in one line with exit code 2."""

from __future__ import annotations

import io
import json
import sys

import pytest

from tests import toys
from tests.cli.running import in_this_process, refused, run
from tests.strokes import drawing, drawing_model  # noqa: F401 (a fixture)
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


@pytest.mark.usefixtures("drawing")
def test_ask_writes_the_item_of_an_answer(tmp_path):
    model, processor = drawing_model(tmp_path)
    model.generation_config.eos_token_id = list(range(320))
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    file = tmp_path / "out.json"
    for words in (["--draw", file], ["--write", f"drawing={file}"]):
        file.unlink(missing_ok=True)
        result = run("ask", *map(str, [tmp_path / "model", "draw a line", *words, "--max-new-tokens", 70]))
        assert result.exit_code == 0, result.stderr
        assert f"wrote {file}, made in " in result.stderr
        assert processor.modalities["drawing"].read(file)
    assert list(tmp_path.glob("*.part")) == []


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--write", "drawing"], "--write needs MODALITY=FILE, got 'drawing'"),
        (["--write", "drawing=a.json", "--draw", "b.json"], "--write names 'drawing' twice"),
        (["--draw", "nowhere/a.json"], "cannot write 'nowhere/a.json': its folder is not there"),
        (["--draw", "folder"], "cannot write 'folder': it is a folder; give the name of a file in it"),
        (["--draw", "/proc/a.json"], "cannot write '/proc/a.json': "),
        (["--speak", "a.wav"], "the model does not make 'audio'; known: drawing"),
        (
            ["--draw", "a.json", "--max-new-tokens", "2"],
            "the answer holds no drawing: it is empty, or ended before one",
        ),
    ],
)
def test_ask_refuses_in_one_line(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    model, processor = drawing_model(tmp_path)
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    result = run("ask", "model", "draw a line", *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") <= 1 or "Loading" in result.stderr
    assert not list(tmp_path.glob("*.json"))


def test_ask_says_at_once_that_a_model_answers_in_words_alone(tmp_path, monkeypatch):
    folder = toys.save_picture_model(tmp_path)
    monkeypatch.setattr("tinyllava_kit_cli.commands.ask.load_to_run", None)  # it is not loaded
    result = run("ask", str(folder), "hello", "--speak", str(tmp_path / "a.wav"))
    assert result.exit_code == 2
    assert "the model answers in words alone; for 'audio' assemble it with --decoder audio=NAME" in result.stderr
