"""``tinyllava quantize``: a directory that ``ask`` and ``load-check`` take; every wrong turn in one line."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests import toys
from tests.cli.running import PARTS, refused
from tests.processes import tinyllava
from tinyllava_kit_cli.app import main

pytestmark = pytest.mark.slow

PICTURE = ["--image", "images/0.png", "what?", "--max-new-tokens", "5"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a picture and an assembled model whose LLM fits 4 bits."""
    folder = tmp_path_factory.mktemp("user")
    toys.save_llama(folder / "llm", hidden=64)
    config = LlamaConfig.from_pretrained(folder / "llm")
    config.intermediate_size = 128
    torch.manual_seed(1)
    LlamaForCausalLM(config).save_pretrained(folder / "llm")
    toys.save_pictures(folder / "images", 1)
    made = tinyllava("assemble", *PARTS, "-o", "model", cwd=folder)
    assert made.returncode == 0, made.stderr
    return folder


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("eight", ["--bits", "8"]),
        ("four", ["--bits", "4"]),
        ("fp4", ["--bits", "4", "--type", "fp4", "--no-double-quant", "--compute-dtype", "bfloat16"]),
    ],
)
def test_a_quantized_model_is_written_and_answers(place, name, options):
    done = tinyllava("quantize", "model", name, *options, cwd=place)
    assert done.returncode == 0, done.stderr
    head, llm, tower, connector, whole, note = done.stdout.splitlines()
    assert head.split()[:2] == ["PART", "DTYPE"]
    assert [line.split()[0] for line in (llm, tower, connector, whole)] == [
        "llm",
        "tower.image",
        "connector.image",
        "all",
    ]
    assert llm.endswith("14 of 15")
    assert tower.endswith("0 of 6")
    assert note == "note: kept their dtype: language_model.lm_head 320x64"
    assert "Traceback" not in done.stderr
    assert f"wrote {name}" in done.stderr
    size = [(place / each / "model.safetensors").stat().st_size for each in ("model", name)]
    assert size[1] < size[0]
    assert {file.name for file in (place / name).iterdir()} == {file.name for file in (place / "model").iterdir()}
    asked = tinyllava("ask", name, *PICTURE, cwd=place)
    assert asked.returncode == 0, asked.stderr
    again = tinyllava("ask", name, *PICTURE, cwd=place)
    assert again.stdout == asked.stdout


def test_options_reach_the_configuration(place):
    options = ["--bits", "4", "--type", "fp4", "--no-double-quant", "--compute-dtype", "float16"]
    done = tinyllava("quantize", "model", "options", *options, "--part", "connector.image", "--part", "llm", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "note: kept their dtype: connectors.image.layers.0 64x32, language_model.lm_head 320x64" in done.stdout
    held = json.loads((place / "options" / "config.json").read_text())["quantization_config"]
    assert held["load_in_4bit"]
    assert not held["load_in_8bit"]
    assert (held["bnb_4bit_quant_type"], held["bnb_4bit_compute_dtype"]) == ("fp4", "float16")
    assert not held["bnb_4bit_use_double_quant"]


def test_a_quantized_directory_is_checked_and_not_quantized_again(place):
    tinyllava("quantize", "model", "once", "--bits", "8", cwd=place)
    checked = tinyllava("load-check", "once", cwd=place)
    assert checked.returncode == 0, checked.stderr
    refused(tinyllava("quantize", "once", "twice", "--bits", "4", cwd=place), "quantized already (8 bit)")
    assert not (place / "twice").exists()


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["model", "new", "--bits", "8", "--type", "nf4"], "are of 4 bits; leave them out, or say --bits 4"),
        (["model", "new", "--bits", "8", "--no-double-quant"], "are of 4 bits"),
        (["model", "new", "--bits", "4", "--part", "llms"], "did you mean 'llm'?"),
        (["model", "images", "--bits", "8"], "exists and is not empty"),
        (["nowhere", "new", "--bits", "8"], "no model directory 'nowhere'"),
        (["images", "new", "--bits", "8"], "has no config.json"),
        (["llm", "new", "--bits", "8"], "is of no layout that is read"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(place, words, match, monkeypatch, capsys):
    before = sorted(path.name for path in place.iterdir())
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["quantize", *words])
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert match in errors[0]
    assert sorted(path.name for path in place.iterdir()) == before


def test_bits_are_8_or_4(capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["quantize", "model", "new", "--bits", "2"])
    assert "is not one of '8', '4'" in capsys.readouterr().err
