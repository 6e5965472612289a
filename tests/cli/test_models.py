"""What is told before anything heavy is imported: the model's name, its packages, the question."""

from __future__ import annotations

import io
import json
import socket
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import tinyllava_kit
from tests.fakes import FakeSite, offering
from tinyllava_kit.errors import KitError
from tinyllava_kit_cli import app
from tinyllava_kit_cli.items import need_packages
from tinyllava_kit_cli.models import check_model
from tinyllava_kit_cli.question import asked


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model in 4 bits, and a run of one stage."""
    quantized = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    for name, config in {"small": quantized, "runs/joint": {}}.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


RECIPES = {
    "data: {dataset: org/name}": ("datasets", "stage 'one': data 'org/name' needs datasets; pip install"),
    "data: empty": ("datasets", "stage 'one': data 'empty' needs datasets; pip install"),
    "data: [a.json, b.parquet]": ("pyarrow", "stage 'one': data 'b.parquet' needs pyarrow; pip install"),
    "data: 'b-{0..3}.PARQUET'": ("pyarrow", "stage 'one': data 'b-{0..3}.PARQUET' needs pyarrow; pip install"),
    "data: {path: b.rows, reader: parquet}": ("pyarrow", "stage 'one': data 'b.rows' needs pyarrow; pip install"),
    "data: {path: b.rows, reader: saved_dataset}": ("datasets", "stage 'one': data 'b.rows' needs datasets; pip"),
    "data: {path: a.csv, pairs: {modality: audio, prompts: [Repeat it.]}}": (
        "soundfile",
        "a file of audio needs soundfile",
    ),
    "data: a.json, quantization: {bits: 4}": ("bitsandbytes", "stage 'one': quantization needs bitsandbytes; pip"),
}


@pytest.mark.parametrize("stage", RECIPES)
@pytest.mark.parametrize("command", [["train"], ["data", "check"], ["data", "show"]], ids=lambda words: words[-1])
def test_an_extra_that_a_stage_needs_is_asked_for_first(
    command: list[str], stage: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, match = RECIPES[stage]
    monkeypatch.setitem(sys.modules, module, None)
    other = "  - {name: zero, data: x.json, train: {llm: full}}\n"
    text = f"model: nowhere\noutput: o\nstages:\n{other}  - {{name: one, {stage}, train: {{llm: lora}}}}\n"
    (place / "recipe.yaml").write_text(text)
    done = CliRunner().invoke(app.cli, [*command, "recipe.yaml"])
    assert done.exit_code == 2, done.output
    assert match in done.stderr
    alone = CliRunner().invoke(app.cli, [*command, "recipe.yaml", "--stage", "zero"])
    assert match not in alone.stderr  # which needs none


def test_a_recipe_that_is_mistyped_gets_the_near_one(place: Path) -> None:
    (place / "recipe.yaml").touch()
    done = CliRunner().invoke(app.cli, ["train", "recpe.yaml"])
    assert done.stderr == "error: cannot read 'recpe.yaml': No such file or directory; did you mean 'recipe.yaml'?\n"


@pytest.mark.parametrize(
    ("name", "advice"),
    [("smal", "did you mean 'small'?"), ("speaking", "give an existing one, or a hub name (org/name)")],
)
@pytest.mark.parametrize("command", [["train"], ["data", "check"]], ids=" ".join)
def test_a_recipes_model_is_no_hubs_where_its_name_could_not_be(
    place: Path, command: list[str], name: str, advice: str
) -> None:
    (place / "rows.json").write_text("[]")
    stage = "  - {name: one, data: rows.json, max_steps: 1, train: {llm: full}}\n"
    (place / "recipe.yaml").write_text(f"model: {name}\noutput: o\nstages:\n{stage}")
    done = CliRunner().invoke(app.cli, [*command, "recipe.yaml"])
    assert done.exit_code == 2, done.output
    assert done.stderr == f"error: no model directory {name!r}; {advice}\n"


@pytest.mark.parametrize("name", ["TinyLlavaProcessor", "TinyLlavaForConditionalGeneration"])
def test_the_public_classes_ask_no_hub_for_it_either(place: Path, name: str) -> None:
    with pytest.raises(KitError, match=r"^no model directory 'smal'; did you mean 'small'\?$"):
        getattr(tinyllava_kit, name).from_pretrained("smal")


def test_the_packages_of_a_strangers_modality_are_asked_for(site: FakeSite) -> None:
    spec = "ModalitySpec(name='smell', target='a:b', token=TokenType(placeholder='<smell>'), packages=('sniffer',))"
    site.plugin("noses", offering("tinyllava_modalities", spec))
    need_packages(["taste"])
    with pytest.raises(KitError, match="a file of smell needs sniffer; pip install sniffer"):
        need_packages(["smell"])


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
