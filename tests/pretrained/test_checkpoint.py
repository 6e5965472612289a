"""Checkpoints that users name: weights read one by one, indexes, tokenizers; every failure is one line."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoConfig
from transformers.utils import logging

from tinyllava_kit import KitError
from tinyllava_kit.pretrained.checkpoint import (
    INDEX,
    Unmapped,
    check_index,
    check_loaded,
    check_model_type,
    find_file,
    load_state,
    looks_local,
    open_tensors,
    read_index,
    read_pretrained,
    read_tokenizer,
    without_reports,
)

MAPS = Path("/proc/self/maps")


def test_tensors_are_read_when_they_are_taken(tmp_path: Path) -> None:
    first, second = {"a": torch.randn(3, 4), "b": torch.arange(5)}, {"c": torch.randn(2, dtype=torch.bfloat16)}
    save_file(first, tmp_path / "1.safetensors")
    save_file(second, tmp_path / "2.safetensors")
    opened = open_tensors([tmp_path / "1.safetensors", tmp_path / "2.safetensors"], passing={"a", "c"})
    assert opened.keys() == {"a", "b", "c"}
    assert [isinstance(opened[name], Unmapped) for name in "abc"] == [True, False, True]
    for name, value in {**first, **second}.items():
        assert torch.equal(opened[name][...], value)
    assert torch.equal(opened["a"][1:, 2], first["a"][1:, 2])


@pytest.mark.skipif(not MAPS.exists(), reason="the kernel's list of mappings is Linux's")
def test_a_file_is_mapped_as_long_as_a_tensor_of_it_is_there(tmp_path: Path) -> None:
    save_file({"a": torch.randn(300, 400)}, tmp_path / "weights.safetensors")
    taken = Unmapped(tmp_path / "weights.safetensors", "a")[...]
    assert str(tmp_path) in MAPS.read_text()
    del taken
    assert str(tmp_path) not in MAPS.read_text()


def index_of(folder: Path, content: Any) -> Path:
    (folder / INDEX).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / INDEX


def test_the_files_of_an_index_come_in_order_and_once(tmp_path: Path) -> None:
    for name in ("b.safetensors", "a.safetensors"):
        (tmp_path / name).write_bytes(b"")
    weights = {"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}
    index = index_of(tmp_path, {"weight_map": weights, "metadata": {}})
    assert read_index(index) == [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    check_index(tmp_path)
    check_index("org/name")
    check_index(None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "weight_map: expected"),
        ({"weight_map": {"x": 3}}, r"weight_map\.x: expected"),
        ({"weight_map": {"x": "../a.safetensors"}}, r"names '\.\./a\.safetensors'; the files of weights must be"),
        ({"weight_map": {"x": "/etc/passwd"}}, "names '/etc/passwd'; the files of weights must be"),
        ({"weight_map": {"x": ".."}}, r"names '\.\.'; the files"),
        ({"weight_map": {"x": "gone"}}, "names 'gone', which is missing; copy the whole checkpoint"),
        ({"weight_map": {}, "metadata": []}, "metadata: expected"),
        ("\ufeff{}", "weight_map: expected|needs UTF-8"),
        ("{", r"index\.json"),
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    index_of(tmp_path, content)
    with pytest.raises(KitError, match=message):
        check_index(tmp_path)


def test_weights_that_do_not_fit_are_listed() -> None:
    layer = nn.Linear(2, 3)
    state = {"weight": torch.ones(3, 2), "bias": torch.zeros(3)}
    load_state(layer, state, "here")
    assert torch.equal(layer.weight, state["weight"])
    load_state(layer, {**state, "more": torch.zeros(1)}, "here", surplus_ok=True)
    for change, message in (
        ({"bias": None}, "missing weights: bias$"),
        ({"more": torch.zeros(1)}, "unexpected weights: more$"),
        ({"bias": torch.zeros(4)}, "wrongly shaped weights: bias$"),
    ):
        given = {name: value for name, value in {**state, **change}.items() if value is not None}
        with pytest.raises(KitError, match=f"^'here': {message}"):
            load_state(layer, given, "here")
    with pytest.raises(KitError, match=r"missing weights: 0, 1, 2, 3, 4 and 3 more$"):
        check_loaded("here", missing=[str(n) for n in range(8)])
    check_loaded("here", missing=[])


def test_another_architecture_is_refused() -> None:
    check_model_type("clip", ("clip", "siglip"), "dir")
    check_model_type("clip", (), "dir")
    with pytest.raises(KitError, match="'dir' is a 'bert' checkpoint; this component takes 'clip', 'siglip'"):
        check_model_type("bert", ("clip", "siglip"), "dir")


def test_a_path_that_is_not_there_is_not_asked_of_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("asks a hub"))
    with pytest.raises(KitError, match="a checkpoint is needed: write NAME:DIR or NAME:ORG/NAME"):
        read_pretrained(AutoConfig, "")
    for name in (str(tmp_path / "gone"), "./gone", "a/b/c"):
        assert looks_local(name)
        with pytest.raises(KitError, match=r"gone|a/b/c"):
            read_pretrained(AutoConfig, name)
        assert find_file(name, "config.json") is None
    assert looks_local(str(tmp_path))
    assert not looks_local("org/name")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init_inputs": ["/etc/passwd"]}, r"tokenizer_config\.json: init_inputs"),
        ({"fast_tokenizer_files": ["../tokenizer.json"]}, r"tokenizer_config\.json: fast_tokenizer_files\.0"),
        ({"tokenizer_class": 3}, r"tokenizer_config\.json: tokenizer_class: expected a valid string, got 3"),
        ({"model_max_length": "long"}, r"tokenizer_config\.json: model_max_length"),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, "cannot read|has no vocabulary"),
    ],
)
def test_settings_of_a_tokenizer_open_no_file_elsewhere(tmp_path: Path, settings: Any, message: str) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(KitError, match=message):
        read_tokenizer(str(tmp_path))


def test_what_transformers_says_is_left_out_and_comes_again() -> None:
    before = logging.get_verbosity()
    with without_reports():
        assert logging.get_verbosity() == logging.ERROR
    assert logging.get_verbosity() == before
