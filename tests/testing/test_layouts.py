"""Readers of checkpoints that are wrong in one way each, and the check of the contract that says so."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.testing.right import caught, changed, passes, table
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints import CheckpointReader, ExternalCheckpoint, KeyedTensor, Lazy, open_weights
from tinyllava_kit.plugin.catalog import Offer
from tinyllava_kit.plugin.discovery import installed_catalog
from tinyllava_kit.plugin.specs import CheckpointSpec, Option
from tinyllava_kit.testing import CheckpointReaderContract
from tinyllava_kit.testing.own_layouts import _TEXT, _VISION, LlavaLayoutContract, _llava, _renamed
from tinyllava_kit.testing.toys import toy_tokenizer

pytestmark = pytest.mark.slow  # each reads a toy some times


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name is looked for on a hub."""

    def refuse(*args: Any, **known: Any) -> Any:
        raise AssertionError(f"asks the network: {args}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


class WideReader(CheckpointReader):
    """One file of three parts; the configuration of each beside the other."""

    def parts(self, directory: Path) -> dict[str, dict[str, KeyedTensor]]:
        parts: dict[str, dict[str, KeyedTensor]] = {"llm.": {}, "eye.": {}, "joint.": {}, "": {}}
        for key, tensor in open_weights(directory).items():
            prefix = next(prefix for prefix in parts if key.startswith(prefix))
            parts[prefix][key.removeprefix(prefix)] = KeyedTensor(key, tensor)
        return parts

    def read(self, directory: Path, config: Mapping[str, Any], names: Any) -> ExternalCheckpoint:
        parts = self.parts(directory)
        return ExternalCheckpoint(
            layout="wide",
            directory=directory,
            text_config=config["llm"],
            vision_config=config["eye"],
            layer=-2,
            connector="mlp2x_gelu",
            llm=parts["llm."],
            tower=parts["eye."],
            joint=parts["joint."],
            unexpected_keys=tuple(parts[""]),
        )


def spec(**known: Any) -> CheckpointSpec:
    wanted = {"project": "Wide", "model_types": ("wide",), "keys": ("llm", "eye"), **known}
    return CheckpointSpec(name="wide", target=f"{__name__}:WideReader", **wanted)


class WideContract(CheckpointReaderContract):
    component = WideReader
    spec = spec()

    def toy_checkpoint(self, folder: Path) -> str:
        eye, llm = {"model_type": "clip_vision_model", **_VISION}, {"model_type": "llama", **_TEXT}
        (folder / "config.json").write_text(json.dumps({"model_type": "wide", "llm": llm, "eye": eye}))
        rename = _renamed("llm.", "eye.", "joint.", head="llm.lm_head.")
        state = {rename(key): value.contiguous() for key, value in _llava().state_dict().items()}
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        toy_tokenizer().save_pretrained(folder)
        return str(folder)

    reference = LlavaLayoutContract.reference


def contract_of(reader: type[CheckpointReader], wanted: CheckpointSpec | None = None) -> WideContract:
    contract, wanted = WideContract(), wanted or spec()
    kit = installed_catalog()
    offer = Offer(spec=wanted, plugin="it", distribution="it", version="0")
    vars(contract).update(component=reader, spec=wanted, catalog=replace(kit, offers=(*kit.offers, offer)))
    return contract


def saying(**known: Any) -> type[WideReader]:
    """Reads something else of the configuration."""
    return changed(WideReader, read=lambda self, *args: replace(WideReader.read(self, *args), **known))


def weights(part: str, change: Any) -> type[WideReader]:
    """Other weights of a part, by the names in it."""

    def parts(self: WideReader, directory: Path) -> Any:
        found = WideReader.parts(self, directory)
        return {**found, part: change(found[part])}

    return changed(WideReader, parts=parts)


def swapped(part: Mapping[str, KeyedTensor]) -> dict[str, KeyedTensor]:
    """Tensors of query and key, under the keys of the other."""
    other = {"q_proj": "o_proj", "o_proj": "q_proj"}
    swap = {name: next((name.replace(a, b) for a, b in other.items() if a in name), name) for name in part}
    return {name: KeyedTensor(source.key, part[swap[name]].tensor) for name, source in part.items()}


def renamed(part: Mapping[str, KeyedTensor]) -> dict[str, KeyedTensor]:
    """The names of query and output swapped."""
    names = {name: name.replace("q_proj", "?").replace("o_proj", "q_proj").replace("?", "o_proj") for name in part}
    return {names[name]: source for name, source in part.items()}


def made_up(part: Mapping[str, KeyedTensor]) -> dict[str, KeyedTensor]:
    return {
        name: KeyedTensor(source.key, Lazy.of(torch.ones(source.tensor.shape)) if "norm" in name else source.tensor)
        for name, source in part.items()
    }


def filled_up(part: Mapping[str, KeyedTensor]) -> dict[str, KeyedTensor]:
    """What is missing is made up."""
    known = [name for name in part if "layers.0" in name]
    others = {name.replace("layers.0", "layers.1"): part[name] for name in known}
    return {**others, **part}


def at_random(part: Mapping[str, KeyedTensor]) -> dict[str, KeyedTensor]:
    """Noise on the last weight."""
    (*_, name) = part
    source = part[name].tensor

    def read() -> Tensor:
        return source.read() + random.random()

    return {**part, name: KeyedTensor(part[name].key, Lazy(source.shape, source.dtype, read))}


def without(*prefixes: str) -> Any:
    return lambda part: {name: source for name, source in part.items() if not name.startswith(prefixes)}


def raw(self: WideReader, directory: Path, config: Mapping[str, Any], names: Any) -> ExternalCheckpoint:
    if not (isinstance(config.get("llm"), dict) and isinstance(config.get("eye"), dict)):
        raise RuntimeError("no parts")
    return WideReader.read(self, directory, config, names)


def of_two_lines(self: WideReader, directory: Path, config: Mapping[str, Any], names: Any) -> ExternalCheckpoint:
    if "eye" not in config:
        raise KitError(f"{directory}:\nno eye")
    return WideReader.read(self, directory, config, names)


def by_its_name(self: WideReader, directory: Path, config: Mapping[str, Any], names: Any) -> ExternalCheckpoint:
    found = WideReader.read(self, directory, config, names)
    return replace(found, layer=-1) if directory.name == "another name" else found


def converting(self: WideReader, directory: Path, config: Mapping[str, Any], names: Any) -> ExternalCheckpoint:
    (directory / "converted").write_text("yes")
    return WideReader.read(self, directory, config, names)


def of_a_mapping(self: WideReader, directory: Path, config: Mapping[str, Any], names: Any) -> Any:
    return dict(config)


def reading(read: Any) -> type[WideReader]:
    return changed(WideReader, read=read)


MUTANTS: list[tuple[str, type[CheckpointReader], str, str]] = [
    ("the layer off by one", saying(layer=-1), "reference", "the other program's: features differ"),
    ("the class token is a feature", saying(dropped=0), "reference", "shapes|raised"),
    ("rows are scaled", saying(row_scale=2.0), "reference", "the other program's: features differ"),
    ("names of two weights swapped", weights("llm.", renamed), "reference", "the other program's: features differ"),
    ("tensors of two weights swapped", weights("llm.", swapped), "used", "is not made of .* alone|is not read from"),
    ("weights that are made up", weights("eye.", made_up), "used", "is not read from eye"),
    ("what is missing is made up", weights("eye.", filled_up), "missing", "eye.* is not there: not refused"),
    ("what is of no part is dropped", weights("", lambda part: {}), "extra", "not refused"),
    ("the tower is not read", weights("eye.", without("")), "accounted", "raised KitError|is not accounted for"),
    ("a weight with noise", weights("joint.", at_random), "again", "the logits are others"),
    ("the name of the folder decides", reading(by_its_name), "again", "the logits are others"),
    ("a broken configuration raises what Python raises", reading(raw), "damaged", "raised RuntimeError"),
    ("a broken configuration told in two lines", reading(of_two_lines), "damaged", "more than one line"),
    ("something is written beside it", reading(converting), "untouched", "reading changes converted"),
    ("what is read is a mapping", reading(of_a_mapping), "converted", "a dict, expected an ExternalCheckpoint"),
]
SPECS: list[tuple[str, CheckpointSpec, str, str]] = [
    ("its own toy is not recognised", spec(keys=("ear",)), "claimed", "its own toy is not recognised"),
    (
        "a language model is taken for one",
        spec(model_types=("wide", "llama"), keys=("model_type",)),
        "claimed",
        "a language model alone is taken for one",
    ),
    (
        "a model of the kit is taken for one",
        spec(model_types=(), keys=("model_type",)),
        "claimed",
        "a model of this kit",
    ),
    ("an option, which never arrives", spec(options=(Option(name="a", default="b"),)), "keywords", "its options: a"),
]


def test_the_right_reader_passes_every_check() -> None:
    assert passes(contract_of(WideReader)) == dict.fromkeys(("keywords", "options"), "its spec has no option")


@table(MUTANTS)
def test_a_mutant_of_the_reader_is_caught(mutant: Any, check: str, message: str) -> None:
    caught(contract_of(mutant), check, message)


@table(SPECS)
def test_a_mutant_of_its_spec_is_caught(mutant: CheckpointSpec, check: str, message: str) -> None:
    caught(contract_of(WideReader, mutant), check, message)
