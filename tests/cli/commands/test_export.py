"""``tinyllava export``: directories that other programs read; every wrong turn in one line with exit code 2."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoProcessor, LlavaForConditionalGeneration

from tests import toys
from tests.cli.running import PARTS, refused
from tests.fakes import FakeSite, offering
from tests.house.test_light import HEAVY, RUN, run
from tests.processes import tinyllava
from tinyllava_kit_cli.app import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an assembled model that sees, and one whose connector only the kit has."""
    folder = tmp_path_factory.mktemp("user")
    toys.save_llama(folder / "llm")
    toys.save_pictures(folder / "images", 1)
    for name, parts in {"model": PARTS, "linear": [*PARTS[:-1], "image=linear"]}.items():
        made = tinyllava("assemble", *parts, "-o", name, cwd=folder)
        assert made.returncode == 0, made.stderr
    return folder


def test_a_llava_is_written_and_compared(place):
    done = tinyllava("export", "model", "--to", "hf-llava", "-o", "llava", cwd=place)
    assert done.returncode == 0, done.stderr
    logits, tokens, _, pixels = done.stdout.splitlines()
    assert logits.startswith("logits beside ours, one picture: largest difference ")
    assert float(logits.split()[-2]) < 1e-4
    assert tokens == "next tokens, greedy: the same"
    assert pixels.startswith("pixels ")
    assert "wrote llava" in done.stderr
    assert "Traceback" not in done.stderr
    assert type(AutoProcessor.from_pretrained(place / "llava")).__name__ == "LlavaProcessor"
    LlavaForConditionalGeneration.from_pretrained(place / "llava")


def test_components_are_written_and_compared(place):
    done = tinyllava("export", "linear", "--to", "hf-components", "-o", "parts", cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "llm: llm, largest difference from the model's 0.0e+00",
        "tower image: towers/image, largest difference from the model's 0.0e+00",
        "connector image: connectors/image, largest difference from the model's 0.0e+00",
    ]
    assert (place / "parts" / "README.md").is_file()
    AutoModelForCausalLM.from_pretrained(place / "parts" / "llm")


def test_ggufs_are_written_and_read_back(place):
    done = tinyllava("export", "model", "--to", "gguf", "--dtype", "float16", "-o", "gguf", cwd=place)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["model.gguf", "mmproj.gguf", *["note"] * 4]
    assert all("float16; read back, all equal to the model's" in line for line in lines[:2])
    assert {file.name for file in (place / "gguf").iterdir()} == {"model.gguf", "mmproj.gguf"}
    llm = AutoModelForCausalLM.from_pretrained(place / "gguf", gguf_file="model.gguf", dtype=torch.float32)
    assert llm.config.hidden_size == 24


def test_the_llm_alone_is_written_where_it_is_asked_for(place):
    done = tinyllava("export", "linear", "--to", "gguf", "--llm-only", "-o", "alone", cwd=place)
    assert done.returncode == 0, done.stderr
    assert [file.name for file in (place / "alone").iterdir()] == ["model.gguf"]
    refused(
        tinyllava("export", "linear", "--to", "gguf", "-o", "none", cwd=place),
        "cannot be a gguf: its connector is 'linear'; mlp2x_gelu is written",
    )
    assert not (place / "none").exists()


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (
            ["model", "--check-only"],
            [
                "hf-llava       yes",
                "hf-components  yes",
                "gguf           yes       the files were not run by llama.cpp; ",
            ],
        ),
        (
            ["linear", "--check-only"],
            [
                "hf-llava       no        its connector is 'linear'; Llava's is mlp2x_gelu",
                "hf-components  yes",
                "gguf           no        its connector is 'linear'; mlp2x_gelu is written",
            ],
        ),
        (["linear", "--check-only", "--to", "hf-llava"], ["hf-llava  no        its connector is 'linear'"]),
    ],
)
def test_what_is_possible_is_said_and_nothing_written(place, words, lines, monkeypatch, capsys):
    before = sorted(path.name for path in place.iterdir())
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit, match=r"^0?$"):
        main(["export", *words])
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["TARGET", "POSSIBLE"]
    assert len(rows) == len(lines)
    assert all(row.startswith(line) for row, line in zip(rows, lines, strict=True)), rows
    assert sorted(path.name for path in place.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["model"], "say what to write and where, with --to TARGET -o DIR, or --check-only"),
        (["model", "--to", "gguf"], "say what to write and where"),
        (["model", "-o", "new"], "say what to write and where"),
        (["model", "--to", "onnx", "-o", "new"], "no export is called 'onnx'; known: gguf, hf-components, hf-llava"),
        (["nowhere", "--to", "onnx", "--check-only"], "no export is called 'onnx'; known: gguf, hf-components"),
        (["model", "--to", "hf-llava", "-o", "new", "--dtype", "float16"], "--dtype and --llm-only are of --to gguf"),
        (["model", "--to", "hf-llava", "-o", "new", "--llm-only"], "--dtype and --llm-only are of --to gguf"),
        (["model", "--to", "gguf", "--check-only", "--llm-only"], "leave them out with --check-only"),
        (
            ["model", "--to", "gguf", "-o", "new", "--set", "dtype=int3"],
            "--to gguf: option 'dtype' got 'int3'; known: ",
        ),
        (["model", "--to", "gguf", "-o", "new", "--set", "dtype"], "--set needs OPTION=VALUE, got dtype"),
        (
            ["model", "--to", "hf-llava", "-o", "new", "--set", "a=1"],
            "export 'hf-llava' has no option 'a'; ",
        ),
        (["model", "--to", "gguf", "-o", "images"], "'images' exists and is not empty"),
        (["nowhere", "--to", "gguf", "-o", "new"], "no model directory 'nowhere'"),
        (["linear", "--to", "hf-llava", "-o", "new"], "cannot be a Llava: its connector is 'linear'"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(place, words, match, monkeypatch, capsys):
    before = sorted(path.name for path in place.iterdir())
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["export", *words])
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert match in errors[0]
    assert sorted(path.name for path in place.iterdir()) == before


TALLY = """
from pathlib import Path
from tinyllava_kit.checkpoints import ExportTarget

class Tally(ExportTarget):
    def __init__(self, *, unit):
        self.unit = unit

    def notes(self, model, processor):
        return [f"counts {self.unit}"]

    def export(self, model, processor, output):
        Path(output).mkdir()
        count = sum(weight.numel() for weight in model.parameters())
        Path(output, "tally.txt").write_text(f"{count} {self.unit}")
        return [f"counted {count}"]
"""


def offer_tally(folder, monkeypatch, option):
    site = FakeSite(folder / "site", monkeypatch)
    site.module("tally", TALLY)
    spec = f"ExportSpec(name='tally', target='tally:Tally', options=({option},))"
    site.plugin("tally", offering("tinyllava_exports", spec))


def test_a_target_of_a_plugin_is_listed_checked_and_written(place, tmp_path, monkeypatch, capsys):
    offer_tally(tmp_path, monkeypatch, "Option(name='unit', default='weights', choices=('weights', 'numbers'))")
    monkeypatch.chdir(place)
    for words in (["list", "export"], ["export", "model", "--check-only", "--to", "tally"]):
        with pytest.raises(SystemExit, match=r"^0?$"):
            main(words)
        assert "tally" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"^0?$"):
        main(["export", "model", "--to", "tally", "-o", str(tmp_path / "out"), "--set", "unit=numbers"])
    assert capsys.readouterr().out.startswith("counted ")
    assert (tmp_path / "out" / "tally.txt").read_text().endswith(" numbers")


def test_a_target_that_cannot_be_asked_leaves_the_others_in_the_table(place, tmp_path, monkeypatch, capsys):
    offer_tally(tmp_path, monkeypatch, "Option(name='unit', type=str, required=True)")
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit, match=r"^0?$"):
        main(["export", "model", "--check-only"])
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert rows.keys() == {"gguf", "hf-components", "hf-llava", "tally"}
    assert "option 'unit'" in rows["tally"]


def test_its_help_imports_nothing_heavy():
    said, modules = run(RUN.format(lines=["export --help"]))
    assert modules & HEAVY == set()
    assert "\nexport --help: exit 0\n" in said
