"""The model of a command line: what is wrong with its name, or absent, is told before anything heavy is imported."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import tinyllava_kit
from tests.cli.running import refusal
from tinyllava_kit.errors import KitError
from tinyllava_kit_cli import app
from tinyllava_kit_cli.models import check_model

pytestmark = pytest.mark.usefixtures("runs")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("smal", "no model directory 'smal'; did you mean 'small'?"),
        ("runs/jont", "no model directory 'runs/jont'; did you mean 'runs/joint'?"),
        ("nowhere", "no model directory 'nowhere'; give an existing one, or a hub name (org/name)"),
        ("./nowhere/at/all", "no model directory './nowhere/at/all'; give an existing one"),
        ("runs", "'runs' is not a model directory: it has no config.json; did you mean 'runs/joint'?"),
        ("empty", "'empty' is not a model directory: it has no config.json"),
        ("runs/joint/config.json", "is not a model directory: it has no config.json"),
    ],
)
@pytest.mark.parametrize(
    "line",
    [
        ["ask", "{}", "what?"],
        ["chat", "{}"],
        ["show", "{}", "what?", "-o", "out"],
        ["eval", "{}", "gqa", "-o", "out"],
        ["export", "{}", "--check-only"],
        ["quantize", "{}", "out", "--bits", "4"],
        ["merge", "{}", "out", "--adapters", "runs/joint"],
        ["load-check", "{}"],
        ["convert", "{}", "out"],
    ],
    ids=lambda line: line[0],
)
def test_a_wrong_model_is_told_by_every_command(line: list[str], name: str, match: str) -> None:
    done = CliRunner().invoke(app.cli, [word.format(name) for word in line])
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ")
    assert match in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_model_and_a_name_that_a_hub_may_know_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: [])  # a network that knows every host
    check_model("runs/joint")
    check_model("small")
    check_model("some-org/some-model")


@pytest.mark.parametrize(
    ("module", "line", "match"),
    [
        ("bitsandbytes", ["ask", "small", "what?"], "'small' has weights of 8 or 4 bits, and needs bitsandbytes; pip"),
        ("bitsandbytes", ["quantize", "nowhere", "out", "--bits", "8"], "quantize needs bitsandbytes; pip install"),
        ("gguf", ["export", "nowhere", "--to", "gguf", "-o", "out"], "--to gguf needs gguf; pip install"),
        ("matplotlib", ["show", "nowhere", "what?", "-o", "out"], "show needs matplotlib; pip install"),
        (
            "jiwer",
            ["eval", "runs/joint", "x.json", "--scorer", "wer", "-o", "o"],
            "scorer 'wer' needs jiwer; pip install",
        ),
        (
            "jiwer",
            ["eval", "runs/joint", "x.json", "--scorer", "cer", "-o", "o"],
            "scorer 'cer' needs jiwer; pip install",
        ),
        ("soundfile", ["ask", "runs/joint", "--audio", "a.wav", "x"], "a file of audio needs soundfile; pip install"),
        ("soundfile", ["ask", "runs/joint", "--speak", "a.wav", "x"], "a file of audio needs soundfile; pip install"),
        ("soundfile", ["show", "runs/joint", "--item", "audio=a", "x", "-o", "o"], "a file of audio needs soundfile"),
    ],
)
def test_an_extra_is_asked_for_before_a_model_is_read(
    module: str, line: list[str], match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    done = CliRunner().invoke(app.cli, line)
    assert done.exit_code == 2, done.output
    assert match in done.stderr
    assert "'tinyllava-kit[" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["TinyLlavaProcessor", "TinyLlavaForConditionalGeneration"])
def test_the_public_classes_ask_no_hub_for_it_either(runs: Path, name: str) -> None:
    with pytest.raises(KitError, match=r"^no model directory 'smal'; did you mean 'small'\?$"):
        getattr(tinyllava_kit, name).from_pretrained("smal")


@pytest.mark.parametrize(
    "words", [("ask", "NAME", "q"), ("load-check", "NAME"), ("assemble", "--llm", "llama:NAME", "-o", "out")]
)
def test_a_name_longer_than_any_file_has_is_one_line(words, capfd) -> None:
    for name in ("x" * 300, "/a" * 3000):
        assert len(refusal(capfd, *(word.replace("NAME", name) for word in words))) < 700
