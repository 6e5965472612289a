"""What a saved model says reaches neither a hub nor a file outside its directory."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import transformers.utils.hub as hub
from transformers import LlamaConfig

from tests import toys
from tinyllava_kit import KitError, TinyLlavaConfig
from tinyllava_kit.assembly.building import assemble
from tinyllava_kit.checkpoints.checking import check
from tinyllava_kit.checkpoints.loading import load_pretrained, open_checkpoint
from tinyllava_kit.model.configuration import saved
from tinyllava_kit.pretrained.saved_config import described

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reach")
    toys.save_picture_model(folder)
    return folder


@pytest.fixture(autouse=True)
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is asked of a hub: nothing, says every test at its end."""
    made: list[Any] = []

    def asked(*args: Any, **kwargs: Any) -> Any:
        made.append((args, kwargs))
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", asked)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", asked)
    monkeypatch.setattr(hub, "hf_hub_download", asked)
    monkeypatch.setattr(hub, "snapshot_download", asked)
    monkeypatch.setattr("socket.create_connection", asked)
    return made


def changed(directory: Path, where: Path, file: str, at: tuple[str, ...], **new: Any) -> str:
    """A copy of a directory, with other values at a place of a JSON file."""
    shutil.copytree(directory, where)
    content = json.loads((where / file).read_text()) if (where / file).exists() else {}
    place = content
    for key in at:
        place = place[key]
    place.update(new)
    (where / file).write_text(json.dumps(content))
    return str(where)


KERNEL = "kernels-community/flash-attn2"


@pytest.mark.parametrize("at", [(), ("text_config",), ("towers", "image", "config", "vision_config")])
@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation", "_attn_implementation_internal"])
def test_attention_of_a_hub_is_not_taken_from_a_file(
    toy: Path, tmp_path: Path, requests: list[Any], at: tuple[str, ...], name: str
) -> None:
    for number, value in enumerate((KERNEL, f"sdpa|{KERNEL}@main:forward", {"": KERNEL})):
        place = changed(toy / "model", tmp_path / str(number), "config.json", at, **{name: value})
        model, _ = load_pretrained(place)
        assert model.language_model.config._attn_implementation == "sdpa"
        assert model.towers["image"].vision_config._attn_implementation == "sdpa"
    assert not requests


@pytest.mark.parametrize("part", ["llm", "clip"])
def test_attention_of_a_hub_is_not_taken_from_a_checkpoint(
    toy: Path, tmp_path: Path, requests: list[Any], part: str
) -> None:
    source = toy / "llm" if part == "llm" else toys.CLIP
    place = changed(source, tmp_path / part, "config.json", (), attn_implementation=KERNEL, transformers_weights="/x")
    parts = {"llm": toy / "llm", "clip": toys.CLIP, part: place}
    flags = {"llm": f"llama:{parts['llm']}", "towers": [f"image=clip:{parts['clip']}"], "connectors": ["image=linear"]}
    model, _ = assemble(toys.Assembly.from_flags(**flags))
    assert model.language_model.config._attn_implementation == "sdpa"
    assert not requests


def test_only_what_is_on_the_list_is_taken_from_a_config() -> None:
    evil = {"_name_or_path": "/etc", "transformers_weights": "/etc/x.bin", "auto_map": {}, "backbone": "org/name"}
    assert saved({"model_type": "tinyllava", "towers": {}, **evil}) == {"towers": {}}
    own = {"hidden_size": 24, "vocab_size": 320, "head_dim": 6, "new_number": 3, "new_text": "org/name"}
    kept = described(LlamaConfig, {**own, **evil}, "here")
    assert kept == {key: value for key, value in own.items() if key != "new_text"}


def test_a_nested_configuration_is_taken_the_same_way() -> None:
    from transformers import CONFIG_MAPPING

    kind = CONFIG_MAPPING["llava"]
    evil = {"auto_map": {"AutoModel": "a--b.C"}, "_attn_implementation": KERNEL, "_name_or_path": "org/name"}
    vision = {"model_type": "clip_vision_model", **evil}
    content = {"text_config": {"model_type": "llama", **evil}, "vision_config": vision}
    kept = described(kind, content, "here")
    assert kept == {"text_config": {"model_type": "llama"}, "vision_config": {"model_type": "clip_vision_model"}}
    with pytest.raises(KitError, match=r"here\.text_config\.model_type: transformers knows no 'evil'"):
        described(kind, {"text_config": {"model_type": "evil"}}, "here")


@pytest.mark.parametrize("method", ["gptq", "awq", "fp8", "torchao", None, 3])
def test_only_the_own_quantization_is_read(toy: Path, tmp_path: Path, method: Any) -> None:
    config = {"quant_method": method, "bits": 4, "checkpoint": "/etc/passwd"}
    place = changed(toy / "model", tmp_path / "model", "config.json", (), quantization_config=config)
    with pytest.raises(KitError, match="quantization_config: only bitsandbytes' is read"):
        TinyLlavaConfig.from_pretrained(place)
    with pytest.raises(KitError, match="quantization_config: only bitsandbytes' is read"):
        check(place)


def test_the_names_of_checkpoints_are_information(toy: Path, tmp_path: Path, requests: list[Any]) -> None:
    """Names that a model holds of what it was made of are neither opened nor asked for."""
    place = tmp_path / "model"
    shutil.copytree(toy / "model", place)
    content = json.loads((place / "config.json").read_text())
    content["llm"]["checkpoint"] = content["towers"]["image"]["checkpoint"] = "org/evil"
    content["text_config"]["_name_or_path"] = "org/evil"
    (place / "config.json").write_text(json.dumps(content))
    shutil.copy(place / "tokenizer_config.json", tmp_path)
    tokenizer = json.loads((place / "tokenizer_config.json").read_text())
    tokenizer.update(name_or_path="org/evil", is_local=False, fix_mistral_regex=True)
    (place / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    load_pretrained(str(place))
    assert not requests


@pytest.mark.parametrize("name", ["tokenizer_file", "vocab_file", "merges_file", "init_inputs", "fast_tokenizer_files"])
def test_a_tokenizer_opens_no_file_outside_its_directory(toy: Path, tmp_path: Path, name: str) -> None:
    other = tmp_path / "elsewhere" / "tokenizer.5.0.0.json"
    other.parent.mkdir()
    os.mkfifo(other)  # who opens it waits for ever
    value: Any = str(other) if name.endswith("file") else [str(other), "../elsewhere/tokenizer.5.0.0.json"]
    place = changed(toy / "model", tmp_path / "model", "tokenizer_config.json", (), **{name: value})
    if name.endswith("file"):
        assert open_checkpoint(place).processor().tokenizer("a b").input_ids
        return
    with pytest.raises(KitError, match=name):
        open_checkpoint(place).processor()


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "a/b.safetensors", ".."])
def test_weights_lie_beside_their_index(toy: Path, tmp_path: Path, name: str) -> None:
    place = tmp_path / "model"
    shutil.copytree(toy / "model", place)
    (place / "model.safetensors").rename(tmp_path / "other.safetensors")
    index = {"metadata": {}, "weight_map": {"language_model.lm_head.weight": name}}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))
    for use in (load_pretrained, check):
        with pytest.raises(KitError, match="the files of weights must be in the folder of their index"):
            use(str(place))
