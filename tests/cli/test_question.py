"""The question of a command line."""

from __future__ import annotations

import io
import sys

import pytest
from click.testing import CliRunner

from tinyllava_kit_cli import app
from tinyllava_kit_cli.question import asked

pytestmark = pytest.mark.usefixtures("runs")


@pytest.mark.parametrize(
    ("given", "text"),
    [(b"what is it?\n", "what is it?"), ("two\nlines, größer\r\n".encode(), "two\nlines, größer"), (b"x", "x")],
)
def test_a_question_comes_from_standard_input(given: bytes, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    assert asked("-") == text
    assert asked("what?") == "what?"


@pytest.mark.parametrize(
    ("given", "match"), [(b"", "no question"), (b" \n", "no question"), (b"\xff", "text in UTF-8")]
)
def test_standard_input_without_a_question_is_one_line(given: bytes, match: str) -> None:
    for command in (["ask", "runs/joint", "-"], ["show", "runs/joint", "-", "-o", "out"]):
        done = CliRunner().invoke(app.cli, command, input=given)
        assert done.exit_code == 2, done.output
        assert match in done.stderr
