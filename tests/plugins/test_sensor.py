"""The sensor plugin by itself: what it reads, counts and computes. The core's tests take it all the way."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.fakes import install
from tinyllava_kit import KitError, discover
from tinyllava_kit.specs import load

pytestmark = pytest.mark.slow

SENSOR = Path(__file__).parent / "sensor"


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, SENSOR)


@pytest.fixture
def tower() -> ModuleType:
    return importlib.import_module("tinyllava_kit_sensor.tower")


def read(source: object) -> torch.Tensor:
    return load(discover().find("modality", "sensor").spec)().read(source)


def test_the_catalog_offers_it() -> None:
    catalog = discover()
    assert catalog.find("modality", "sensor").spec.token.placeholder == "<sensor>"
    offer = catalog.find("tower", "patchify1d")
    assert (offer.distribution, offer.version, offer.spec.modality) == ("tinyllava-kit-sensor", "0.1.0", "sensor")
    assert load(offer.spec).__name__ == "PatchifyTower"


def test_a_signal_is_read_from_a_file_an_array_or_a_list(tmp_path: Path) -> None:
    values = [0.5, -1.0, 3.25]
    np.save(tmp_path / "a.npy", np.array(values))
    for source in (tmp_path / "a.npy", str(tmp_path / "a.npy"), np.array(values), values, torch.tensor(values)):
        assert read(source).tolist() == values
        assert read(source).dtype == torch.float32


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([[1.0, 2.0]], r"signal: needs one dimension and at least one sample, got shape \(1, 2\)"),
        ([], "signal: needs one dimension and at least one sample"),
        ([1.0, float("nan")], "signal: sample 1 is not a finite number"),
        ("missing.npy", "missing.npy: no such file"),
        (["a"], "signal: not a signal"),
        (None, "signal: needs one dimension"),
    ],
)
def test_what_is_no_signal_is_refused(source: object, message: str) -> None:
    with pytest.raises(KitError, match=message):
        read(source)


def test_a_corrupt_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY\x01\x00broken")
    with pytest.raises(KitError, match=r"bad\.npy: not a signal"):
        read(tmp_path / "bad.npy")


@pytest.mark.parametrize(
    ("length", "counts"), [(1, [1]), (12, [3]), (13, [4]), (20, [5]), (21, [5, 1]), (47, [5, 5, 2])]
)
def test_the_counts_are_those_of_the_rows(tower: ModuleType, length: int, counts: list[int]) -> None:
    preprocessor = tower.PatchifyPreprocessor(patch_size=4, window_patches=5)
    item = torch.arange(float(length))
    assert preprocessor.num_features(item) == counts
    rows = preprocessor(item)
    assert [len(row["signal"]) // 4 for row in rows] == counts
    assert torch.cat([row["signal"] for row in rows])[:length].equal(item)


def test_the_tower_agrees_with_a_slow_loop(tower: ModuleType) -> None:
    torch.manual_seed(0)
    config = tower.PatchifyTower.read_config("", patch_size=3)
    model = tower.PatchifyTower(config)
    preprocessor = model.read_preprocessor("", config)
    items = [torch.randn(length) for length in (7, 31, 2)]
    rows = [row for item in items for row in preprocessor(item)]
    features, lengths, grid = model(**preprocessor.collate(rows))
    assert lengths.tolist() == [count for item in items for count in preprocessor.num_features(item)] == [3, 5, 5, 1, 1]
    assert (features.shape, grid) == ((5, 5, 11), None)
    for row, given in enumerate(rows):
        for patch in range(5):
            expected = torch.zeros(11)
            if patch < given["num_patches"]:
                samples = given["signal"][patch * 3 : patch * 3 + 3]
                expected = model.project.weight @ samples + model.project.bias + model.position.weight[patch]
            torch.testing.assert_close(features[row, patch], expected)


def test_settings_make_an_equal_preprocessor(tower: ModuleType) -> None:
    settings = tower.PatchifyPreprocessor(patch_size=3, window_patches=7).settings()
    assert tower.PatchifyPreprocessor.from_settings(json.loads(json.dumps(settings))).settings() == settings


def test_a_checkpoint_gives_configuration_and_weights(tower: ModuleType, tmp_path: Path) -> None:
    config = {"model_type": "patchify1d", "patch_size": 2, "window_patches": 3, "embed_dim": 5}
    trained = tower.PatchifyTower(config)
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    model = tower.PatchifyTower(tower.PatchifyTower.read_config(str(tmp_path)))
    model.load_weights(str(tmp_path))
    for name, value in trained.state_dict().items():
        assert model.state_dict()[name].equal(value)
    with pytest.raises(KitError, match="has patch_size 2, the option says 3"):
        tower.PatchifyTower.read_config(str(tmp_path), patch_size=3)
    with pytest.raises(KitError, match=r"model.safetensors: .*size mismatch"):
        tower.PatchifyTower(tower.DEFAULTS).load_weights(str(tmp_path))


def test_another_checkpoint_is_refused(tower: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(KitError, match=r"config.json: cannot read"):
        tower.PatchifyTower.read_config(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "other"}', encoding="utf-8")
    with pytest.raises(KitError, match="model type 'other', expected 'patchify1d'"):
        tower.PatchifyTower.read_config(str(tmp_path))
    with pytest.raises(KitError, match="patch_size must be at least 1, got 0"):
        tower.PatchifyTower.read_config("", patch_size=0)
