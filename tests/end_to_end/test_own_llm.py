"""An LLM whose configuration class transformers does not know, from its own distribution, all the way through."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner
from transformers import AutoTokenizer
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tests import toys
from tests.fakes import FakeSite, install
from tests.processes import tinyllava
from tinyllava_kit import KitError, TinyLlavaConfig, TinyLlavaForConditionalGeneration, TinyLlavaProcessor, assemble
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.testing.toys import CHAT_TEMPLATE
from tinyllava_kit_cli import app

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
OWN_LLM = ROOT / "tests" / "plugins" / "own_llm"


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    install(tmp_path, monkeypatch, OWN_LLM)
    yield
    _forget()


def checkpoint(folder: Path) -> Path:
    from tinyllava_kit_own_llm.llm import ThriftyConfig, ThriftyForCausalLM

    torch.manual_seed(0)
    config = ThriftyConfig(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    ThriftyForCausalLM(config).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(toys.ASSETS / "tinyllama-tiny")
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def assembly(llm: str) -> Assembly:
    return Assembly.from_flags(llm=llm, towers=[f"image=clip:{toys.CLIP}"], connectors=["image=linear"])


def _forget() -> None:
    """As in a new process: nobody has imported the plugin's module, and transformers does not know its classes."""
    CONFIG_MAPPING._extra_content.pop("thrifty", None)
    for name in [name for name in sys.modules if name.startswith("tinyllava_kit_own_llm")]:
        del sys.modules[name]


def _assembled(folder: Path) -> Path:
    torch.manual_seed(1)
    for part in assemble(assembly(f"thrifty:{checkpoint(folder / 'llm')}")):
        part.save_pretrained(folder / "model")
    _forget()
    return folder / "model"


def test_a_saved_configuration_is_read_before_anybody_has_imported_the_llm(tmp_path):
    model = _assembled(tmp_path)
    assert TinyLlavaConfig.from_pretrained(model).text_config.model_type == "thrifty"
    _forget()
    assert TinyLlavaForConditionalGeneration.from_pretrained(model).language_model.config.num_attention_heads == 3


def test_without_its_plugin_the_message_says_what_to_install(tmp_path, monkeypatch):
    model = _assembled(tmp_path)
    monkeypatch.setenv("TINYLLAVA_DISABLED_PLUGINS", "own-llm")
    with pytest.raises(KitError, match=r"llm 'thrifty' comes with plugin 'own-llm', which is disabled"):
        TinyLlavaConfig.from_pretrained(model)


def test_a_type_that_the_llm_does_not_register_is_one_short_line(tmp_path):
    model = _assembled(tmp_path)
    content = json.loads((model / "config.json").read_text())
    content["text_config"]["model_type"] = "thriftier"
    (model / "config.json").write_text(json.dumps(content))
    with pytest.raises(KitError, match=r"text_config.model_type: transformers knows no 'thriftier'; did") as raised:
        TinyLlavaConfig.from_pretrained(model)
    assert len(str(raised.value)) < 300


def test_its_checkpoint_is_taken_by_the_llm_of_any_class_too(tmp_path):
    llm = checkpoint(tmp_path / "llm")
    _forget()
    for part in assemble(assembly(f"causal_lm:{llm}")):
        part.save_pretrained(tmp_path / "model")
    _forget()
    assert type(TinyLlavaConfig.from_pretrained(tmp_path / "model").text_config).__name__ == "ThriftyConfig"


def test_an_llm_whose_spec_names_no_model_type_is_found_by_the_models_own_name_for_it(tmp_path, monkeypatch):
    source = (OWN_LLM / "src" / "tinyllava_kit_own_llm" / "plugin.py").read_text()
    model = _assembled(tmp_path)
    plain = FakeSite(tmp_path / "other", monkeypatch)
    plain.module("plain_own_llm", source.replace('    model_types=("thrifty",),\n', ""))
    plain.distribution("tinyllava-kit-own-llm", plugins={"own-llm": "plain_own_llm"})
    plain.alone()
    assert TinyLlavaConfig.from_pretrained(model).text_config.model_type == "thrifty"


def test_assemble_train_save_load_and_ask(tmp_path, monkeypatch):
    _assembled(tmp_path)
    toys.picture_rows(tmp_path)
    stage = {
        "name": "joint",
        "data": "rows.json",
        "train": {"connector.image": "full", "llm": "full"},
        "max_steps": 2,
        "max_length": 256,
        "batch_size": 2,
        "packing": {"length": 256},
        "gradient_checkpointing": True,
    }
    recipe = {"model": "model", "output": "runs", "stages": [stage]}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    monkeypatch.chdir(tmp_path)
    trained = CliRunner().invoke(app.cli, ["train", "recipe.yaml"])
    assert trained.exit_code == 0, trained.output
    _forget()
    path = os.pathsep.join([str(tmp_path / "site"), str(OWN_LLM / "src")])
    words = ["ask", "runs/joint", "what?", "--max-new-tokens", "3"]
    asked = tinyllava(*words, cwd=tmp_path, env={"PYTHONPATH": path})
    assert asked.returncode == 0, asked.stderr
    processor = TinyLlavaProcessor.from_pretrained("runs/joint")
    batch = processor([[{"role": "user", "content": "what?"}]])
    trained = TinyLlavaForConditionalGeneration.from_pretrained("runs/joint")
    new = trained.generate(**batch, max_new_tokens=3, do_sample=False)[0, batch["input_ids"].shape[1] :]
    assert asked.stdout.strip() == processor.tokenizer.decode(new, skip_special_tokens=True).strip()
