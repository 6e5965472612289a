"""``tinyllava show``: a directory with a page and drawings, or one line."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from tests import toys
from tinyllava_kit_cli import app

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("show")
    for part in toys.picture_model(folder / "llm", connector="resampler"):
        part.save_pretrained(folder / "model")
    toys.save_pictures(folder, 2)
    return folder


def show(*words, place, monkeypatch):
    monkeypatch.chdir(place)
    return CliRunner().invoke(app.cli, ["show", "model", *words])


def test_the_answer_is_printed_and_the_page_written(place, monkeypatch):
    words = ["--image", "0.png", "--item", "image=1.png", "same?", "--max-new-tokens", "3", "-o", "shown"]
    done = show(*words, place=place, monkeypatch=monkeypatch)
    assert done.exit_code == 0, done.output
    page = (place / "shown" / "index.html").read_text(encoding="utf-8")
    assert "they have no place in the item" in page
    assert {path.name for path in (place / "shown").iterdir()} == {
        "index.html",
        "image-1-attention.png",
        "image-2-attention.png",
    }
    asked = CliRunner().invoke(app.cli, ["ask", "model", *words[:-2]])
    assert done.stdout == asked.stdout
    assert done.stderr.count("wrote ") == 3


def test_what_the_page_tells_is_one_json_object(place, monkeypatch):
    words = ["--image", "0.png", "--item", "image=1.png", "same?", "--max-new-tokens", "3"]
    done = show(*words, "-o", "told", "--json", place=place, monkeypatch=monkeypatch)
    told = json.loads(done.stdout)
    assert list(told) == ["model", "question", "items", "answer", "tokens", "words", "files"]
    assert told["items"] == [{"modality": "image", "file": "0.png"}, {"modality": "image", "file": "1.png"}]
    asked = CliRunner().invoke(app.cli, ["ask", "model", *words, "--json"])
    assert {name: told[name] for name in ("model", "question", "items", "answer")} == {
        name: each for name, each in json.loads(asked.stdout).items() if name != "written"
    }
    assert len(told["tokens"]) == 3
    for token in told["tokens"]:  # a greedy answer: none was likelier
        assert token["probability"] == max(each["probability"] for each in token["likeliest"])
        assert token["text"] in [each["text"] for each in token["likeliest"]]
    assert all(word["text"] for word in told["words"])
    for word in told["words"]:
        *_, last = shares = word["attention"].values()
        assert len(word["attention"]["items"]) == 2
        assert sum(word["attention"]["items"]) + sum([*shares][1:]) == pytest.approx(1, abs=1e-4)
        assert last >= 0
    assert all((place / file).is_file() for file in told["files"])
    assert told["files"][0] == "told/index.html"


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["what?"], "Missing option '-o' / '--output'"),
        (["what?", "-o", "taken"], "'taken' exists and is not empty"),
        (["--image", "gone.png", "what?", "-o", "out"], "cannot open 'gone.png': No such file or directory"),
        (["--audio", "0.png", "what?", "-o", "out"], "the model does not read 'audio'; it reads image"),
        (["what? " * 300, "-o", "out"], "the LLM has 512"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(place, words, match, monkeypatch):
    (place / "taken").mkdir(exist_ok=True)
    (place / "taken" / "file").touch()
    done = show(*words, place=place, monkeypatch=monkeypatch)
    assert done.exit_code == 2
    [error] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert match in error
    assert not (place / "out").exists()
