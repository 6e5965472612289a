"""``tinyllava show``: a directory with a page and drawings, or one line."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from tests import toys
from tinyllava_kit_cli import app


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


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["what?"], "Missing option '-o' / '--output'"),
        (["what?", "-o", "taken"], "'taken' exists and is not empty"),
        (["--image", "gone.png", "what?", "-o", "out"], "image 'gone.png' does not exist"),
        (["--audio", "a.wav", "what?", "-o", "out"], "the model does not read 'audio'; it reads image"),
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
