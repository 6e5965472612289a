"""Whose a directory is: one answer, from what is in its config.json, for all who ask."""

from __future__ import annotations

import json

import pytest

from tests import toys
from tests.fakes import FakeSite, offering
from tinyllava_kit import Assembly, KitError, read_blueprint
from tinyllava_kit.model.storage.recognition import open_external, open_if_external, recognize, recognize_model
from tinyllava_kit.plugin.specs import CheckpointSpec

KIT_CONFIG = {"model_type": "tinyllava", "llm": {"name": "llama"}}
FACTORY = {"model_type": "tinyllava", "connector_type": "linear"}
LEGACY = {"model_type": "llava_llama", "mm_vision_tower": "openai/clip"}
LLAVA = {"model_type": "llava", "vision_config": {}}


@pytest.fixture
def directory(tmp_path):
    """Makes a directory with such a config.json."""

    def make(config, name="model"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        return tmp_path / name

    return make


@pytest.mark.parametrize(
    ("config", "is_kit_model", "layouts"),
    [
        (KIT_CONFIG, True, []),
        ({**KIT_CONFIG, "connector_type": "linear", "mm_vision_tower": "x"}, True, []),
        (FACTORY, False, ["factory"]),
        (LEGACY, False, ["llava_legacy"]),
        (LLAVA, False, ["llava_hf"]),
        ({"model_type": "llava"}, False, []),
        ({"model_type": "tinyllava"}, False, []),
        ({"model_type": "tinyllava", "llm": "llama"}, False, []),
        ({"model_type": "llama"}, False, []),
        ({"model_type": ["tinyllava"], "connector_type": 1}, False, []),
        ({}, False, []),
    ],
)
def test_a_directory_is_recognised_by_its_configuration(directory, config, is_kit_model, layouts):
    found = recognize(directory(config, "factory"))
    assert (found.is_kit_model, [offer.spec.name for offer in found.layouts]) == (is_kit_model, layouts)
    assert dict(found.content) == config


@pytest.mark.parametrize("content", ["", "{", "[]", "7", "[" * 5000, b"\xff"])
def test_what_has_no_configuration_is_nobodys(tmp_path, content):
    assert recognize(tmp_path) is None
    assert recognize(tmp_path / "not there") is None
    assert recognize("org/name") is None
    with pytest.raises(KitError, match=r"is not a model directory: it has no config\.json"):
        recognize_model(tmp_path)
    (tmp_path / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert recognize(tmp_path) is None
    with pytest.raises(KitError, match=r"config\.json"):
        recognize_model(tmp_path)
    assert open_if_external(tmp_path) is None


@pytest.mark.parametrize(
    ("config", "project"),
    [(FACTORY, "TinyLLaVA_Factory"), (LEGACY, "LLaVA-1.5 or TinyLLaVABench"), (LLAVA, "transformers")],
)
@pytest.mark.parametrize("part", ["tower", "connector", "llm"])
def test_a_part_from_another_projects_model_is_told_how(directory, tmp_path, config, project, part):
    place = directory(config)
    named = {"llm": toys.save_llama(tmp_path / "llm"), "tower": toys.CLIP, "connector": "", part: place}
    assembly = Assembly.from_flags(
        llm=f"llama:{named['llm']}",
        towers=[f"image=clip:{named['tower']}"],
        connectors=[f"image=linear:{named['connector']}" if named["connector"] else "image=linear"],
    )
    message = f"'.*model' is a checkpoint of {project}; 'tinyllava convert' makes it one of this kit"
    with pytest.raises(KitError, match=message):
        read_blueprint(assembly)


def test_of_no_layout_all_that_are_read_are_named(directory):
    message = r"\('llama'\) is of no layout that is read: tinyllava_kit; TinyLLaVA_Factory \(one dir.*transformers \(L"
    with pytest.raises(KitError, match=message):
        open_external(directory({"model_type": "llama"}))


def test_another_layout_than_is_wanted_is_refused(directory):
    place = directory(FACTORY)
    with pytest.raises(KitError, match=r"is not of 'llava_hf' .*: its config.json is of 'factory' .*--from factory"):
        open_external(place, layout="llava_hf")
    with pytest.raises(KitError, match="no checkpoint is called 'factor'; did you mean 'factory'"):
        open_external(place, layout="factor")


READER = """
class Reader:
    def open(self, directory, config, **how):
        return directory.name, config["model_type"], sorted(how)
"""


def test_a_plugins_layout_is_read_by_its_reader(site: FakeSite, directory) -> None:
    spec = "CheckpointSpec(name={0!r}, target='fake_reader:Reader', project={0!r}, model_types=('wide',), keys={1})"
    site.module("fake_reader", READER)
    site.plugin("one", offering("tinyllava_checkpoints", spec.format("one", "('eye',)")))
    assert open_if_external(directory({"model_type": "wide", "eye": 1})) == (
        *("model", "wide"),
        ["catalog", "names_from", "template"],
    )
    with pytest.raises(KitError, match="is of no layout that is read: tinyllava_kit; one"):
        open_if_external(directory({"model_type": "wide"}))
    site.plugin("two", offering("tinyllava_checkpoints", spec.format("two", "()")))
    place = directory({"model_type": "wide", "eye": 1})
    with pytest.raises(
        KitError, match="is of several layouts, tinyllava-kit-one/one and tinyllava-kit-two/two; say --f"
    ):
        open_external(place)
    assert open_external(place, layout="two")[0] == "model"
    assert recognize(place).project == "one or two"


def test_a_layout_that_nothing_tells_is_refused():
    with pytest.raises(ValueError, match=r"checkpoint 'x': give model_types or keys that tell its config\.json"):
        CheckpointSpec(name="x", target="a:b", project="X")
