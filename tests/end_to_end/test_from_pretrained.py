"""`from_pretrained` of the public classes and of the Auto classes on directories of other projects."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, BitsAndBytesConfig

from tests.golden_models import GOLDEN
from tinyllava_kit import KitError, TinyLlavaForConditionalGeneration, TinyLlavaProcessor
from tinyllava_kit.checkpoints.loading import load_pretrained

CASE = GOLDEN / "tinyllama_clip_mlp2x_gelu"
FACTORY = [CASE, GOLDEN / "parts" / "tiny-pretrain", GOLDEN / "parts" / "tiny-finetune-lora"]
LEGACY = GOLDEN / "legacy" / "legacy_llama_clip_mlp2x_gelu"


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def assert_same(model, folder: Path) -> None:
    expected, _ = load_pretrained(folder)
    assert type(model) is TinyLlavaForConditionalGeneration
    assert model.state_dict().keys() == expected.state_dict().keys()
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in model.state_dict().items())
    assert model.generation_config.to_dict() == expected.generation_config.to_dict()
    assert not model.training


@pytest.mark.parametrize("folder", [*FACTORY, LEGACY], ids=lambda folder: folder.name)
def test_a_directory_of_another_project_is_the_model_that_load_pretrained_gives(folder: Path) -> None:
    assert_same(TinyLlavaForConditionalGeneration.from_pretrained(folder), folder)
    processor, expected = TinyLlavaProcessor.from_pretrained(folder), load_pretrained(folder)[1]
    assert type(processor.template) is type(expected.template)
    assert processor.preprocessors["image"].settings() == expected.preprocessors["image"].settings()


@pytest.mark.parametrize("auto", [AutoModelForCausalLM, AutoModelForImageTextToText])
@pytest.mark.parametrize("folder", FACTORY, ids=lambda folder: folder.name)
def test_auto_classes_open_the_factorys(folder: Path, auto) -> None:
    assert_same(auto.from_pretrained(folder), folder)
    assert type(AutoProcessor.from_pretrained(folder)) is TinyLlavaProcessor


def test_arguments_are_those_of_transformers() -> None:
    model, info = TinyLlavaForConditionalGeneration.from_pretrained(
        CASE, dtype=torch.bfloat16, attn_implementation="eager", device_map="cpu", output_loading_info=True
    )
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model.language_model.config._attn_implementation == "eager"
    assert info["missing_keys"] == set()


def test_weights_are_quantized_while_they_are_read() -> None:
    how = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=["towers", "connectors", "lm_head"])
    model = TinyLlavaForConditionalGeneration.from_pretrained(CASE, quantization_config=how)
    assert type(model.get_submodule("language_model.model.layers.0.mlp.down_proj")).__name__ == "Linear8bitLt"
    assert type(model.get_submodule("connectors.image.layers.0")) is torch.nn.Linear


def test_what_was_opened_is_saved_as_a_model_of_this_kit(tmp_path: Path) -> None:
    TinyLlavaForConditionalGeneration.from_pretrained(CASE).save_pretrained(tmp_path / "out")
    TinyLlavaProcessor.from_pretrained(CASE).save_pretrained(tmp_path / "out")
    model, processor = load_pretrained(tmp_path / "out")
    assert_same(model, CASE)
    assert processor.preprocessors["image"].size == (28, 28)


@pytest.mark.parametrize("kind", [TinyLlavaForConditionalGeneration, TinyLlavaProcessor])
def test_a_directory_that_is_nobodys_is_refused(tmp_path: Path, kind) -> None:
    shutil.copytree(CASE, tmp_path / "model", ignore=shutil.ignore_patterns("scenarios"))
    (tmp_path / "model" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(KitError, match=r"\('bert'\) is of no layout that is read"):
        kind.from_pretrained(tmp_path / "model")
