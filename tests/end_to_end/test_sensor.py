"""A modality that the kit has never heard of, from its own distribution, all the way through."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner

from tests import toys
from tests.fakes import install
from tinyllava_kit import TinyLlavaForConditionalGeneration, TinyLlavaProcessor, assemble
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit_cli import app

pytestmark = pytest.mark.slow

SENSOR = Path(__file__).parents[1] / "plugins" / "sensor"
PATCH = 4
SHORT, LONG = 7, 53  # samples; a window holds 5 patches, so the long one is three rows of the tower


@pytest.fixture
def sensor(tmp_path, monkeypatch):
    """The sensor's distribution, installed, and a tower checkpoint of it."""
    install(tmp_path, monkeypatch, SENSOR)
    from safetensors.torch import save_file
    from tinyllava_kit_sensor.tower import DEFAULTS, MODEL_TYPE, PatchifyTower

    torch.manual_seed(5)
    folder = tmp_path / "sensor-checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": MODEL_TYPE, **DEFAULTS}))
    save_file(PatchifyTower(DEFAULTS).state_dict(), folder / "model.safetensors")
    return folder


def signal(count: int, seed: int) -> list[float]:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed)).tolist()


def question(values: list[float]) -> list[dict]:
    return [{"role": "user", "content": ["read ", {"type": "sensor", "sensor": values}, " now"]}]


def make(sensor, tmp_path, connector="mlp2x_gelu"):
    assembly = Assembly.from_flags(
        llm=f"llama:{toys.save_llama(tmp_path / 'llm')}",
        towers=[f"sensor=patchify1d:{sensor}"],
        connectors=[f"sensor={connector}"],
    )
    torch.manual_seed(1)
    return assemble(assembly)


def test_counts_follow_from_the_length_of_the_signal(sensor, tmp_path):
    _, processor = make(sensor, tmp_path)
    batch = processor([question(signal(SHORT, 0)), question(signal(LONG, 1))])
    assert [item.num_tokens for item in batch["plan"].items] == [-(-SHORT // PATCH), -(-LONG // PATCH)]


def test_a_sample_of_several_windows_is_the_same_alone_and_in_a_batch(sensor, tmp_path):
    model, processor = make(sensor, tmp_path)
    conversations = [question(signal(SHORT, 0)), question(signal(LONG, 1)), question(signal(21, 2))]
    batch = processor(conversations, padding_side="right")
    assert "window_rows" in batch["items"]["sensor"]
    with torch.no_grad():
        together = model(**batch).logits
        for row, mask, conversation in zip(together, batch["attention_mask"].bool(), conversations, strict=True):
            alone = model(**processor([conversation])).logits[0]
            assert torch.allclose(row[mask], alone, atol=1e-4)


def test_the_rows_of_a_joined_item_are_those_of_its_windows_in_order(sensor, tmp_path):
    model, processor = make(sensor, tmp_path)
    batch = processor([question(signal(LONG, 1))])
    inputs = batch["items"]["sensor"]
    with torch.no_grad():
        joined = model.encode_features("sensor", inputs).features[0]
        tower = model.towers["sensor"]
        rows = {k: v for k, v in inputs.items() if not k.startswith("window_")}
        windows = tower(**rows)
    expected = torch.cat([f[:n] for f, n in zip(windows.features, windows.lengths.tolist(), strict=True)])
    assert torch.equal(joined, expected)


@pytest.mark.parametrize("connector", ["mlp2x_gelu", "resampler"])
def test_train_save_load_and_generate(sensor, tmp_path, connector):
    from tinyllava_kit.training.recipe import Recipe
    from tinyllava_kit.training.run import run_recipe

    model, processor = make(sensor, tmp_path, connector)
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    rows = [
        {
            "id": f"r{n}",
            "sensor": [signal(LONG if n % 2 else SHORT, n)],
            "conversations": [
                {"from": "human", "value": "<sensor> which?"},
                {"from": "gpt", "value": "up" if n % 2 else "down"},
            ],
        }
        for n in range(6)
    ] + [{"id": "text", "conversations": [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "hi"}]}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    recipe = {
        "model": str(tmp_path / "model"),
        "output": str(tmp_path / "runs"),
        "stages": [
            {
                "name": "joint",
                "data": str(tmp_path / "rows.json"),
                "train": {"connector.sensor": "full"},
                "max_steps": 3,
                "batch_size": 3,
                "cache_features": True,
                "logging_steps": 1,
            },
            {
                "name": "whole",
                "data": str(tmp_path / "rows.json"),
                "train": {"llm": "lora", "tower.sensor": "full"},
                "max_steps": 2,
            },
        ],
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    trained = run_recipe(Recipe.from_yaml(tmp_path / "recipe.yaml"))
    again = TinyLlavaForConditionalGeneration.from_pretrained(trained)
    changed = {k for k, v in again.state_dict().items() if not torch.equal(v, model.state_dict()[k])}
    assert {key.split(".")[0] for key in changed} == {"connectors", "towers", "language_model"}
    assert not any("lora" in key or "base_layer" in key for key in again.state_dict())
    batch = TinyLlavaProcessor.from_pretrained(trained)([question(signal(LONG, 1))])
    new = again.generate(**batch, max_new_tokens=3, do_sample=False)
    assert new.shape[1] > batch["input_ids"].shape[1]


def test_it_is_talked_about_and_shown(sensor, tmp_path, monkeypatch):
    for part in make(sensor, tmp_path):
        part.save_pretrained(tmp_path / "model")
    np.save(tmp_path / "one.npy", signal(LONG, 3))
    monkeypatch.chdir(tmp_path)
    words = ["chat", "model", "--max-new-tokens", "2"]
    talked = CliRunner().invoke(app.cli, words, input="/help\n/sensor one.npy\nwhat?\n/history\n")
    assert talked.exit_code == 0, talked.output
    assert "/sensor FILE, /clear" in talked.stderr
    assert "user: [sensor one.npy]\nwhat?\n" in talked.stdout
    words = ["show", "model", "what?", "--sensor", "one.npy", "--max-new-tokens", "2", "-o", "shown"]
    shown = CliRunner().invoke(app.cli, words)
    assert shown.exit_code == 0, shown.output
    assert (tmp_path / "shown" / "sensor-1-attention.png").exists()
    assert not (tmp_path / "shown" / "sensor-1-words.png").exists()  # nobody says where its features stand
