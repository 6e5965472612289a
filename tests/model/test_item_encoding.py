"""Towers and connectors without an LLM, against the model that they are of."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tests import toys
from tinyllava_kit import ItemEncoder, KitError, TinyLlavaConfig, TinyLlavaProcessor, load_pretrained
from tinyllava_kit.core.conversation import Item


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    toys.save_pictures(folder, 2)
    return toys.save_picture_model(folder)


@pytest.fixture(scope="module")
def weights(saved):
    return load_file(saved / "model.safetensors")


def test_its_rows_are_the_models(saved, weights):
    model, processor = load_pretrained(saved)
    encoder = ItemEncoder(TinyLlavaConfig.from_pretrained(saved)).eval()
    encoder.load_weights(weights, "toy")
    read = [processor.read_item(Item("image", str(saved.parent / f"{n}.png"))) for n in range(2)]
    parts = [part for each in read for part in each]
    rows = [row for part in parts for row in part.rows]
    inputs = processor.tower_inputs("image", rows, [part.num_features for part in parts])
    with torch.no_grad():
        got, expected = encoder.encode("image", inputs), model.encode("image", inputs)
    assert got.shape[0] == 2
    assert torch.equal(got, expected)
    assert not torch.equal(got[0], got[1])


def test_windows_are_laid_behind_one_another(saved):
    processor = TinyLlavaProcessor.from_pretrained(saved)
    (part,) = processor.read_item(Item("image", str(saved.parent / "0.png")))
    inputs = processor.tower_inputs("image", [part.rows[0]] * 3, [[2, 3], [4]])
    assert inputs["pixel_values"].shape[0] == 3
    assert inputs["window_rows"].tolist() == [[0, 0, 1, 1, 1], [2, 2, 2, 2, 0]]
    assert inputs["window_features"].tolist() == [[0, 1, 0, 1, 2], [0, 1, 2, 3, 0]]
    assert inputs["window_lengths"].tolist() == [5, 4]


def test_weights_that_do_not_fit_are_named(saved, weights):
    encoder = ItemEncoder(TinyLlavaConfig.from_pretrained(saved))
    name = next(key for key in sorted(weights) if key.startswith("connectors."))
    without = {key: tensor for key, tensor in weights.items() if key != name}
    with pytest.raises(KitError, match=f"'toy': missing weights: {name}$"):
        encoder.load_weights(without, "toy")
    with pytest.raises(KitError, match=r"'toy': unexpected weights: towers\.image\.stray$"):
        encoder.load_weights({**weights, "towers.image.stray": torch.zeros(1)}, "toy")
    with pytest.raises(KitError, match=f"'toy': wrongly shaped weights: {name}$"):
        encoder.load_weights({**weights, name: torch.zeros(1)}, "toy")


def test_a_weight_that_is_shared_is_saved_once(saved, weights):
    encoder = ItemEncoder(TinyLlavaConfig.from_pretrained(saved))
    weight, shared = (f"connectors.image.{name}" for name in ("weight", "shared"))
    connector = torch.nn.Linear(3, 3, bias=False)
    connector.shared = connector.weight
    encoder.connectors.image = connector
    towers = {key: tensor for key, tensor in weights.items() if key.startswith("towers.")}
    encoder.load_weights({**towers, weight: torch.eye(3)}, "toy")
    assert torch.equal(encoder.get_parameter(shared), torch.eye(3))
