"""A directory that does not fit together is refused in one line, whatever is wrong with it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.checkpoints.copies import CASE, change_config, change_weights, copied
from tests.golden_models import GOLDEN
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.checking import check


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Names that are not here are not looked for on a hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def drop(key):
    return lambda folder: change_weights(folder, lambda state: state.pop(key))


def add(key):
    return lambda folder: change_weights(folder, lambda state: state.update({key: torch.zeros(2)}))


def truncate(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def pickled(value, name="pytorch_model.bin"):
    def write(folder):
        (folder / "model.safetensors").unlink()
        torch.save(value, folder / name)

    return write


class Runs:
    def __reduce__(self):
        return (os.system, ("touch /tmp/tinyllava-kit-was-here",))


def half_index(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def text_config(**changes):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        change_config(folder, text_config={**config["text_config"], **changes})

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop("language_model.model.norm.weight"), "missing weights: model.norm.weight"),
        (drop("connector._connector.2.bias"), "missing weights: layers.2.bias"),
        (add("language_model.model.extra"), "unexpected weights: language_model.model.extra"),
        (add("projector.weight"), "unexpected weights: projector.weight"),
        (add("connector._connector.7.bias"), "unexpected weights: layers.7.bias"),
        (
            text_config(intermediate_size=99),
            r"wrongly shaped weights: .*mlp.* \(64, 128\), config.json says \(64, 99\)",
        ),
        (
            text_config(model_type="nothing"),
            "config.json: text_config.model_type: transformers knows no 'nothing'; a newer transformers may know it",
        ),
        (truncate, r"model.safetensors: damaged or incomplete: .*; copy it again"),
        (half_index, "names 'model-00002-of-00002.safetensors', which is missing; copy the whole checkpoint"),
        (pickled(Runs()), "pytorch_model.bin: refused, it holds code or other objects beside tensors: .*system"),
        (pickled([torch.zeros(2)]), "expected a mapping of names to tensors"),
        (lambda f: (f / "model.safetensors").unlink(), "has no weights; expected one of model.safetensors.index.json"),
        (lambda f: change_config(f, connector_type="nothing"), "no connector is called 'nothing'"),
        (lambda f: change_config(f, image_aspect_ratio="anyres"), "image_aspect_ratio 'anyres' is not read; expected"),
        (
            lambda f: change_config(f, vision_config=None),
            "config.json: cannot be read as a model: 'vision_config' is m",
        ),
        (
            lambda f: change_config(f, model_type="bert", connector_type=None),
            r"\('bert'\) is of no layout that is read",
        ),
        (lambda f: change_config(f, torch_dtype=[]), r"config.json: torch_dtype: expected a valid string, got \[\]"),
        (lambda f: (f / "config.json").write_text("{"), "config.json line 1, column 2: not JSON"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "config.json line 1: lists and mappings stand"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json: expected a mapping, got list"),
        (lambda f: (f / "config.json").unlink(), "is not a model directory: it has no config.json"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, damage, message):
    folder = copied(CASE, tmp_path / "model")
    damage(folder)
    with pytest.raises(KitError, match=message) as caught:
        check(folder, names_from=str(GOLDEN))
    assert "\n" not in str(caught.value)
    assert not Path("/tmp/tinyllava-kit-was-here").exists()


def refused(folder: Path) -> str:
    """What a directory is refused with; nothing where it is not."""
    try:
        check(folder, names_from=str(GOLDEN))
    except KitError as error:
        return str(error)
    return ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**9) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_value_in_a_configuration_is_read_or_refused_in_one_line(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz") / "model"
    copied(CASE, folder)
    config = json.loads((folder / "config.json").read_text())
    where = data.draw(st.sampled_from([config, config["text_config"], config["vision_config"]]))
    where[data.draw(st.sampled_from(sorted(where)))] = data.draw(JSON)
    (folder / "config.json").write_text(json.dumps(config))
    assert "\n" not in refused(folder)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_to_a_header_is_read_or_refused_in_one_line(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz") / "model"
    copied(CASE, folder)
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 6000))] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    assert "\n" not in refused(folder)
