"""Installations and folders that several commands are tested with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes import FakeSite, offering, tower
from tinyllava_kit.plugin.doctor import Finding
from tinyllava_kit_cli import environment


@pytest.fixture
def core(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The core is installed; of the machine the doctor has one thing to say."""
    site.distribution("tinyllava-kit", version="0.1.0")
    python = Finding(status="ok", name="python", version="3.11.7", detail="/usr/bin/python")
    monkeypatch.setattr(environment, "survey", lambda probe: [python])


@pytest.fixture
def senses(site: FakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, a picture and rows; two towers of two senses, a connector, an LLM, a command."""
    connector = "ConnectorSpec(name='linear', target='a:b', summary='one layer')"
    llm = "LanguageModelSpec(name='tiny', target='a:b')"
    senses = [
        f"ModalitySpec(name={name!r}, target='a:b', token=TokenType(placeholder='<{name}>'))"
        for name in ("smell", "taste")
    ]
    site.plugin("senses", offering("tinyllava_modalities", *senses))
    site.plugin("noses", tower("nose") + offering("tinyllava_connectors", connector) + offering("tinyllava_llms", llm))
    site.plugin("tongues", tower("tongue", modality="taste"))
    site.plugin(
        "judges",
        offering(
            "tinyllava_scorers", "ScorerSpec(name='exact', target='a:b')", "ScorerSpec(name='loose', target='a:b')"
        )
        + offering("tinyllava_benchmarks", "BenchmarkSpec(name='task', target='a:b')"),
    )
    site.plugin("adds", offering("tinyllava_commands", "CommandSpec(name='dance', target='gone:it', summary='Moves.')"))
    folder = tmp_path / "here"
    for name in ("model", ".hidden"):
        (folder / name).mkdir(parents=True)
    for name in ("a.png", "rows.json"):
        (folder / name).touch()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model in 4 bits, and a run of one stage."""
    quantized = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    for name, config in {"small": quantized, "runs/joint": {}}.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path
