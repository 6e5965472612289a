"""``tinyllava load-check`` on what is wrong: one line, exit code 2."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests import toys
from tests.cli.running import refusal
from tinyllava_kit_cli import app


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    toys.save_picture_model(folder)
    return folder / "model"


@pytest.fixture
def model(source, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return shutil.copytree(source, tmp_path / "model")


def change(model: Path, file: str = "config.json", **values) -> None:
    content = json.loads((model / file).read_text())
    (model / file).write_text(json.dumps({**content, **values}))


@pytest.mark.parametrize(
    ("file", "values", "match"),
    [
        ("config.json", {"text_config": None}, "the model has no text_config"),
        ("config.json", {"llm": {"name": 3}}, "llm needs {'name': ..., 'options': {...}}, got {'name': 3}"),
        ("config.json", {"quantization_config": {"quant_method": "awq"}}, "only bitsandbytes' is read"),
        ("processor_config.json", {"preprocessors": {}}, "processor_config.json: preprocessors: none of 'image'"),
        ("processor_config.json", {"preprocessors": {"image": 3}}, "preprocessors.image: expected an object, got 3"),
    ],
)
def test_a_broken_model_directory_is_one_line(model, file, values, match, capfd) -> None:
    change(model, file, **values)
    assert match in refusal(capfd, "load-check", model)


def test_a_broken_generation_config_is_one_line(model, capfd) -> None:
    (model / "generation_config.json").write_text("[1]")
    assert "generation_config.json: expected a mapping, got list" in refusal(capfd, "load-check", model)


def test_the_template_of_a_model_of_this_kit_can_be_another(model, capfd) -> None:
    assert "no template is called 'nothing'" in refusal(capfd, "load-check", model, "--template", "nothing")
    with pytest.raises(SystemExit) as ended:
        app.main(["load-check", str(model), "--template", "llama"])
    assert ended.value.code in (0, None)
    assert "chat template: llama\n" in capfd.readouterr().out


@pytest.mark.parametrize("what", ["gone", "a link to nowhere", "a folder"])
def test_a_model_without_a_vocabulary_is_one_line(model, what, capfd) -> None:
    file = model / "tokenizer.json"
    file.unlink()
    if what == "a link to nowhere":
        file.symlink_to("nowhere")
    if what == "a folder":
        file.mkdir()
    assert "has no vocabulary: expected a tokenizer.json" in refusal(capfd, "load-check", model)
