"""``tinyllava chat``: lines from a pipe, and a person at a terminal."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pexpect
import pytest
from click.testing import CliRunner

from tests import toys
from tinyllava_kit_cli import app

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'cli'}", "TERM": "dumb"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model that reads pictures, and pictures."""
    folder = tmp_path_factory.mktemp("chat")
    toys.save_picture_model(folder)
    toys.save_pictures(folder)
    return folder


def piped(lines, *options, monkeypatch, place):
    monkeypatch.chdir(place)
    words = ["chat", "model", "--max-new-tokens", "4", *options]
    texts = [line if isinstance(line, bytes) else line.encode("utf-8", "surrogatepass") for line in lines]
    return CliRunner().invoke(app.cli, words, input=b"\n".join(texts))


def test_piped_lines_are_answered_and_nothing_else_is_on_standard_output(place, monkeypatch):
    done = piped(["what?", "", "and?", "/exit", "never"], monkeypatch=monkeypatch, place=place)
    assert done.exit_code == 0, done.output
    assert done.stdout.count("\n") >= 2
    alone = piped(["what?"], monkeypatch=monkeypatch, place=place)
    assert done.stdout.startswith(alone.stdout)


def test_the_history_names_the_items_where_they_stand(place, monkeypatch):
    lines = ["/image 0.png", "/image 1.png", "is <image> like <image>?", "/image 2.png", "/history"]
    done = piped(lines, monkeypatch=monkeypatch, place=place)
    assert done.exit_code == 0, done.output
    assert "user: is [image 0.png] like [image 1.png]?\nassistant: " in done.stdout
    assert done.stdout.endswith("\nnext: [image 2.png]\n")


@pytest.mark.parametrize("typed", ["my own.png", "'my own.png'", '"my own.png"', r"my\ own.png", "it's.png"])
def test_a_file_is_taken_as_it_is_typed_or_pasted(place, typed, monkeypatch):
    name = "it's.png" if "it" in typed else "my own.png"
    (place / name).write_bytes((place / "0.png").read_bytes())
    done = piped([f"/image {typed}", "/history"], monkeypatch=monkeypatch, place=place)
    assert done.stdout == f"next: [image {name}]\n"


def test_after_clear_there_is_no_history(place, monkeypatch):
    done = piped(["what?", "/image 0.png", "/clear", "/history"], monkeypatch=monkeypatch, place=place)
    assert "user:" not in done.stdout
    assert "next:" not in done.stdout


def test_help_names_the_modalities_that_the_model_reads(place, monkeypatch):
    done = piped(["/help"], monkeypatch=monkeypatch, place=place)
    assert "/image FILE, /clear, /history, /help, /exit (or /quit, /bye), /system [TEXT]; anything" in done.stderr
    assert "<image>" in done.stderr


@pytest.mark.parametrize("end", ["/quit", "/exit", "/bye"])
def test_the_conversation_ends_by_each_of_its_names(place, end, monkeypatch):
    done = piped([end, "/imgae never.png"], monkeypatch=monkeypatch, place=place)
    assert (done.exit_code, done.stdout) == (0, "")


def test_a_system_text_stands_in_front_until_it_is_taken_away(place, monkeypatch):
    lines = ["/system You are a cat.", "what?", "/clear", "/history", "/system", "/history"]
    done = piped(lines, monkeypatch=monkeypatch, place=place)
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("\nsystem: You are a cat.\n")
    assert "(system: You are a cat.)\n" in done.stderr
    assert done.stderr.endswith("(no system text)\n")


def test_a_template_can_be_chosen(place, monkeypatch):
    own, other = (
        piped(["what?"], *options, monkeypatch=monkeypatch, place=place).stdout
        for options in ([], ["--template", "llama"])
    )
    assert own != other


@pytest.mark.parametrize(
    ("lines", "options", "match"),
    [
        (["/imgae 0.png"], [], "no command is called '/imgae'; did you mean 'image'?"),
        (["/quite"], [], "no command is called '/quite'; did you mean 'quit'?"),
        (["/image"], [], "write /image FILE, got '/image'"),
        (["/clear all"], [], "write /clear, got '/clear all'"),
        (["/image gone.png"], [], "image 'gone.png' does not exist"),
        (["/audio a.wav"], [], "the model does not read 'audio'; it reads image"),
        (["/image 0.png", "<image> or <image>?"], [], "the question has 2 <image>, 1 image item(s) are given"),
        (["what?"], ["--template", "vicunna"], "'vicunna'; did you mean 'vicuna'?"),
        (["what? " * 300], [], "the LLM has 512"),
        (["what? " * 300], [], "or clear the conversation"),
        ([b"\xff\xfe"], [], "the line is not UTF-8 text"),
        (["\udcff"], [], "the line is not UTF-8 text"),
    ],
)
def test_a_mistake_in_a_pipe_ends_with_one_line(place, lines, options, match, monkeypatch):
    done = piped([*lines, "what?"], *options, monkeypatch=monkeypatch, place=place)
    assert done.exit_code == 2
    assert done.stdout == ""
    [error] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert match in error


@pytest.fixture
def terminal(place):
    """The command at a terminal, at its first prompt."""
    words = ["-m", "tinyllava_kit_cli", "chat", "model", "--max-new-tokens", "400"]
    child = pexpect.spawn(
        sys.executable,
        words,
        cwd=str(place),
        env=ENVIRONMENT,
        encoding="utf-8",
        timeout=600,
        # a shell's background job ignores Ctrl-C, and so would all that it starts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    child.setecho(False)
    child.expect("> $")
    yield child
    child.close(force=True)


@pytest.mark.slow
def test_a_person_goes_on_after_a_mistake_and_ends_with_ctrl_d(terminal):
    assert "model: llama, reads text and image, on cpu in float32; /quit or Ctrl-D ends\r\n" in terminal.before
    assert "/image FILE, /clear, /history, /help, /exit" in terminal.before
    terminal.sendline("/image gone.png")
    terminal.expect("error: image 'gone.png' does not exist.*> $")
    terminal.sendline("/image 0.png")
    terminal.expect(r"\(image 0.png\).*> $")
    terminal.sendeof()
    terminal.expect(pexpect.EOF)
    terminal.wait()
    assert terminal.exitstatus == 0


@pytest.mark.slow
def test_ctrl_c_stops_the_answer_and_not_the_program(terminal):
    terminal.sendintr()
    terminal.expect(r"\(stopped; /exit or Ctrl-D ends\).*> $")
    terminal.sendline("what?")
    time.sleep(0.3)  # wherever it is then, it stops
    terminal.kill(signal.SIGINT)
    terminal.expect(r"\(stopped; /exit or Ctrl-D ends\).*> $")
    terminal.sendline("/history")
    terminal.expect("> $")
    terminal.sendline("/exit")
    terminal.expect(pexpect.EOF)
    terminal.wait()
    assert terminal.exitstatus == 0
