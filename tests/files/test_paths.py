"""Directories that a user may have mistyped are told before a hub is asked."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from huggingface_hub import constants
from transformers import AutoConfig

from tinyllava_kit import TinyLlavaForConditionalGeneration
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.assembly.blueprint import read_blueprint
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.errors import KitError
from tinyllava_kit.files.paths import could_be_on_a_hub, meant, refuse_mistyped
from tinyllava_kit.pretrained.checkpoint import INDEX, check_index, find_file, looks_local, read_index, read_pretrained


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the stages of a run, a checkpoint and a recipe."""
    for name in ("my-runs/connector", "my-runs/together", "smollm2-135m-instruct"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "recipe.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "may"),
    [
        ("gpt2", True),
        ("org/name", True),
        ("org/name-1.5_b", True),
        ("a/b/c", False),
        ("./name", False),
        ("../name", False),
        ("~/name", False),
        ("/name", False),
        ("org/", False),
        ("org/name/", False),
        ("two words", False),
        ("name:latest", False),
        ("org/na--me", False),
        ("org/na..me", False),
        ("org/name.git", False),
        ("-name", False),
        ("", False),
        ("ö/name", False),
        ("n" * 97, False),
        ("org\\name", False),
    ],
)
def test_what_a_hub_may_know(name: str, may: bool) -> None:
    assert could_be_on_a_hub(name) == may
    assert looks_local(name) == (not may)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my-runs/conector", "did you mean 'my-runs/connector'?"),
        ("my-run/conector", "did you mean 'my-runs/connector'?"),
        ("my-run/connector", "did you mean 'my-runs/connector'?"),
        ("./my-runs/conector", "did you mean 'my-runs/connector'?"),
        ("my_runs", "did you mean 'my-runs'?"),
        ("smollm2-135m-instruct/", ""),  # it is there
        ("recipe.yml", ""),  # no directory
        ("elsewhere/connector", ""),
        ("", ""),
    ],
)
def test_what_is_meant_is_found_part_by_part(name: str, said: str) -> None:
    assert meant(name) == said


def test_a_whole_path_is_meant_as_one(place: Path) -> None:
    assert meant(str(place / "my-run" / "togeter")) == f"did you mean {str(place / 'my-runs' / 'together')!r}?"
    assert meant("recipe.yml", files=True) == "did you mean 'recipe.yaml'?"
    assert meant("my-runs/../recpe.yaml", files=True) == "did you mean 'my-runs/../recipe.yaml'?"


def test_what_is_nearly_here_is_refused_and_what_a_hub_may_know_is_not(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: [])  # a network that knows every host
    with pytest.raises(KitError, match=r"no checkpoint 'smolm2-135m-instruct'; did you mean 'smollm2-135m-instruct'\?"):
        refuse_mistyped("smolm2-135m-instruct", "checkpoint")
    with pytest.raises(
        KitError, match=r"no model 'my-runs/conector'; did you mean 'my-runs/connector'\? \(the hub's of"
    ):
        refuse_mistyped("my-runs/conector", "model")
    with pytest.raises(KitError, match="no model 'a/b/c'; give an existing one, or a hub name"):
        refuse_mistyped("a/b/c", "model")
    with pytest.raises(KitError, match="no model 'gpt2'; give an existing one, or a hub name"):
        refuse_mistyped("gpt2", "model", with_org=True)
    refuse_mistyped("openai/clip-vit-base-patch16", "checkpoint")
    refuse_mistyped("gpt2", "checkpoint")
    downloaded(place, "my-runs/conector", monkeypatch)
    refuse_mistyped("my-runs/conector", "model")  # it is meant


def downloaded(cache: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the hub's library keeps what it has downloaded."""
    (cache / f"models--{name.replace('/', '--')}" / "snapshots").mkdir(parents=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


@pytest.fixture
def without_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No host has an address; those that were asked for."""
    asked: list[str] = []

    def look_up(host: str, *_: object) -> None:
        asked.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    for name in ("HF_HUB_OFFLINE", "HF_ENDPOINT", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def test_without_a_network_one_look_for_the_hubs_address_is_enough(
    without_network: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = r"no checkpoint directory 'org/name' here, and it cannot be downloaded: huggingface\.co has no address"
    for read in (lambda: read_pretrained(AutoConfig, "org/name"), lambda: find_file("org/name", "config.json")):
        with pytest.raises(KitError, match=said):
            read()
    assert without_network == ["huggingface.co"] * 2
    for load in (load_pretrained, TinyLlavaForConditionalGeneration.from_pretrained):
        with pytest.raises(KitError, match=r"no model directory 'org/name' here, .* huggingface\.co has no address"):
            load("org/name")
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example:8080")
    with pytest.raises(KitError, match=r"mirror\.example has no address"):
        refuse_mistyped("org/name", "model")


def test_what_was_downloaded_or_a_proxy_brings_is_asked_for_all_the_same(
    without_network: list[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloaded(place / "own", "org/name", monkeypatch)
    refuse_mistyped("org/name", "model")
    downloaded(place / "other", "org/other", monkeypatch)
    with pytest.raises(KitError, match=r"huggingface\.co has no address"):
        refuse_mistyped("org/name", "model")
    refuse_mistyped("org/name", "model", cache=place / "own")
    without_network.clear()
    with monkeypatch.context() as with_proxy:
        with_proxy.setenv("https_proxy", "http://proxy.example:3128")
        refuse_mistyped("org/third", "model")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refuse_mistyped("org/third", "model")  # the hub's library says so at once
    assert without_network == []


NO_FILE_HAS = [
    "x" * 5000,
    "my-runs/" + "x" * 300,
    "a/" * 3000 + "b",
    "~nobody-of-this-name/x",
    "a\0b",
    "my-runs/\ud800",
]


@pytest.mark.parametrize("name", ["my-runs/conector", "nowhere/at/all", "two words", "~/nowhere", *NO_FILE_HAS])
def test_no_loader_is_called_for_a_name_that_is_mistyped(name: str) -> None:
    class Loader:
        @staticmethod
        def from_pretrained(*args, **kwargs):
            pytest.fail("the loader was called")

    with pytest.raises(KitError, match="no checkpoint directory"):
        read_pretrained(Loader, name)


@pytest.mark.parametrize("name", NO_FILE_HAS)
def test_a_name_that_no_file_can_have_is_refused_as_any_that_is_not_here(name: str) -> None:
    with pytest.raises(KitError, match="no model directory '") as refused:
        load_pretrained(name)
    assert len(str(refused.value)) < 400
    with pytest.raises(KitError, match="no checkpoint directory '"):
        read_blueprint(Assembly.from_mapping({"llm": {"name": "llama", "checkpoint": name}}, "here"))


@pytest.mark.parametrize("name", ["x" * 5000, "no.safetensors", "a\0b"])
def test_an_index_that_names_what_no_file_is_called_is_refused(place: Path, name: str) -> None:
    (place / INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(KitError, match=r"names '.*, which is missing; copy the whole checkpoint"):
        read_index(place / INDEX)


@pytest.mark.parametrize("metadata", [True, "x", [], None])
def test_an_index_of_weights_needs_a_mapping_of_metadata(place: Path, metadata: object) -> None:
    (place / "part.safetensors").touch()
    whole = {"weight_map": {"a": "part.safetensors"}, "metadata": metadata}
    (place / INDEX).write_text(json.dumps(whole))
    with pytest.raises(KitError, match=rf"{INDEX}: metadata"):
        check_index(place)
    right = json.dumps({**whole, "metadata": {}})
    (place / INDEX).write_text(right, encoding="utf-8-sig")
    with pytest.raises(KitError, match="needs UTF-8 without a byte order mark"):
        check_index(place)
    (place / INDEX).write_text(right)
    check_index(place)
