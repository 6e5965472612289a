"""Wheels of plugins that were built against version 0.1.0: what they were written for goes on working.

A wheel here is never built anew. One that no longer passes is a broken promise: plugins of strangers would break, too.
Those of the kinds that `tinyllava new-plugin` writes are what it wrote; each has its sources in it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.fakes import FakeSite
from tests.house.imports import imported
from tests.house.test_public_face import FACE, PACKAGE
from tests.testing.right import passes
from tinyllava_kit.plugin.discovery import discover
from tinyllava_kit.plugin.hookspecs import HOOKS
from tinyllava_kit.testing import contract_of, save_toy_llm
from tinyllava_kit_cli import app

pytestmark = pytest.mark.slow

WHEELS = sorted((Path(__file__).parent / "frozen").glob("*.whl"))
# What starts compilers or processes, or trains.
_LONG = ("compile", "learned", "light", "incomplete", "whole")


def kind_of(wheel: Path) -> str:
    return wheel.name.split("-")[0].rpartition("_")[2]


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, *wheels: Path) -> None:
    """Let discovery find these wheels beside what is installed."""
    site = FakeSite(folder, monkeypatch)
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site.folder)
    site.forget()  # what was found before


def test_there_is_a_wheel_of_each_kind() -> None:
    assert sorted(map(kind_of, WHEELS)) == sorted(HOOKS.values())


@pytest.mark.parametrize("wheel", WHEELS, ids=kind_of)
def test_a_plugin_of_an_earlier_version_passes_its_checks(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", monkeypatch, wheel)
    catalog = discover()
    distribution = wheel.name.split("-")[0].replace("_", "-")
    offers = [offer for offer in catalog.offers if offer.distribution == distribution]
    assert offers, [plugin for plugin in catalog.plugins if plugin.distribution == distribution]
    for offer in offers:
        passes(contract_of(offer, catalog)(), leaving_out=_LONG)


def test_what_they_import_is_the_public_face() -> None:
    allowed = {f"{PACKAGE}{room}" for room in FACE}
    for wheel in WHEELS:
        with zipfile.ZipFile(wheel) as archive:
            sources = [archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")]
        theirs = {module for source in sources for module, _ in imported(source) if module.split(".")[0] == PACKAGE}
        assert PACKAGE in theirs, wheel.name
        assert theirs <= allowed, wheel.name


@pytest.fixture
def tinyllava(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The command line, in a folder of its own, with all of the wheels installed; returns what it prints."""
    install(tmp_path / "site", monkeypatch, *WHEELS)
    (tmp_path / "place").mkdir()
    monkeypatch.chdir(tmp_path / "place")

    def run(*words: str) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            app.main([*words])
        printed, told = capfd.readouterr()
        assert not ended.value.code, told
        return printed

    return run


def test_a_model_of_earlier_plugins_is_assembled_trained_and_asked(tinyllava: Callable[..., str]) -> None:
    """A tower and a connector, rows of a reader, two steps of an objective, and the questions of a benchmark."""
    save_toy_llm("llm")
    parts = ["--tower", "image=frozen_tower", "--connector", "image=frozen_connector"]
    tinyllava("assemble", "--llm", "llama:llm", *parts, "-o", "model")
    Path("rows.frozen").write_text("What has keys?|a piano\nWhat runs?|a river\n", encoding="utf-8")
    stage = {"name": "s", "data": "rows.frozen", "train": {"llm": "full"}, "max_steps": 2, "batch_size": 2}
    stage["frozen_objective"] = {"share": 0.5}
    Path("recipe.yaml").write_text(yaml.safe_dump({"model": "model", "output": "run", "stages": [stage]}))
    tinyllava("train", "recipe.yaml")
    (trained,) = Path("run").rglob("training.json")
    assert len(json.loads(trained.read_text())) == 1
    Path("bench").mkdir()
    Image.new("RGB", (40, 30), "red").save("bench/red.png")
    Path("bench/riddles.txt").write_text("red.png|What is red?|a rose\n", encoding="utf-8")
    figures = json.loads(
        tinyllava("eval", str(trained.parent), "frozen_benchmark", "--root", "bench", "-o", "out", "--json")
    )
    assert figures["figures"]["as given"]["accuracy"]["count"] == 1


def test_a_model_goes_through_an_earlier_form_of_export(tinyllava: Callable[..., str]) -> None:
    save_toy_llm("llm")
    tinyllava("assemble", "--llm", "llama:llm", "-o", "model")
    said = tinyllava("export", "model", "--to", "frozen-export", "-o", "plain", "--set", "prefix=llm.")
    assert said.startswith("weights.safetensors: ")
    assert {path.name for path in Path("plain").iterdir()} == {"weights.safetensors", "config.json"}


def test_a_checkpoint_of_an_earlier_layout_is_converted(tinyllava: Callable[..., str]) -> None:
    catalog = discover()
    toy = contract_of(catalog.find("checkpoint", "frozen_checkpoint"), catalog)().checkpoint
    tinyllava("convert", toy, "model")
    assert {"config.json", "model.safetensors"} <= {path.name for path in Path("model").iterdir()}


def test_every_component_of_them_is_listed_and_no_finding_of_the_doctor(tinyllava: Callable[..., str]) -> None:
    listed = {row["name"] for row in json.loads(tinyllava("list", "--json"))}
    theirs = {offer.spec.name for offer in discover().offers if offer.distribution.startswith("tinyllava-kit-frozen")}
    assert len(theirs) >= len(HOOKS)
    assert theirs <= listed
    assert not [line for line in tinyllava("doctor").splitlines() if "frozen" in line and "ok" not in line]
