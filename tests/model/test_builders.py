"""Parts that are built of a configuration alone: those of the model, or a line that names the place in it."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.strokes import drawing, drawing_model  # noqa: F401 (a fixture)
from tinyllava_kit import KitError, TinyLlavaConfig
from tinyllava_kit.core.decoders import HiddenDecoder, TokenDecoder
from tinyllava_kit.model.builders import build_connector, build_decoder, build_tower
from tinyllava_kit.plugin.discovery import installed_catalog


@pytest.fixture
def config(saved):
    return TinyLlavaConfig.from_pretrained(saved)


def shapes(module):
    return {name: tuple(each.shape) for name, each in module.state_dict().items()}


def test_parts_are_those_of_the_model(made, config):
    model, _ = made
    for build, parts in ((build_tower, model.towers), (build_connector, model.connectors)):
        with torch.device("meta"):
            part = build(config, "image", installed_catalog())
        assert type(part) is type(parts["image"])
        assert shapes(part) == shapes(parts["image"])
        assert all(each.is_meta for each in part.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": {"out_dim": 24}}, r"config\.json: connectors\.image\.config\.in_dim: is missing"),
        ({"config": {"in_dim": 0, "out_dim": 24}}, r"connectors\.image\.config\.in_dim: expected .*, got 0"),
        ({"config": {"in_dim": 24, "out_dim": "wide"}}, r"connectors\.image\.config\.out_dim: expected"),
        ({"config": {"in_dim": 24, "out_dim": 24, "grid": [2]}}, r"connectors\.image\.config\.grid"),
        ({"options": {"depht": 3}}, r"config\.json: connectors\.image\.options: unknown key 'depht'"),
        ({"options": {"in_dim": 3}}, r"config\.json: connectors\.image\.options: unknown key 'in_dim'"),
    ],
)
def test_a_connector_that_cannot_be_made_names_the_place(config, change, message):
    config.connectors["image"] = {**config.connectors["image"], **change}
    with pytest.raises(KitError, match=message):
        build_connector(config, "image", installed_catalog())


def test_a_tower_that_cannot_be_made_names_the_place(config):
    tower = copy.deepcopy(config.towers["image"])
    tower["config"] = {"vision_config": "none"}
    config.towers["image"] = tower
    with pytest.raises(KitError, match=r"config\.vision_config: expected an object, got 'none'"):
        build_tower(config, "image", installed_catalog())


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize("name", ["strokes", "points", "strokes_talker"])
def test_a_decoder_has_rows_for_its_ids_its_marks_and_what_stands_beside(tmp_path, name):
    model, _ = drawing_model(tmp_path, decoder=name)
    with torch.device("meta"):
        decoder = build_decoder(model.config, "drawing", installed_catalog())
    assert shapes(decoder) == shapes(model.decoders["drawing"])
    if name == "strokes_talker":
        assert isinstance(decoder, HiddenDecoder)
        assert decoder.width == 24
        return
    assert isinstance(decoder, TokenDecoder)
    count = 2 + sum(decoder.ranges.values()) + sum(stream.size for stream in decoder.parallel.values())
    assert decoder.rows.embedding.shape == decoder.rows.head.shape == (count, 24)
