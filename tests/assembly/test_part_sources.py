"""Each checkpoint of an assembly is opened once, by the class that reads such a directory."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.assembly.own_checkpoint import OwnCheckpoint
from tinyllava_kit.assembly.part_sources import Sources
from tinyllava_kit.assembly.saved_model import SavedModel
from tinyllava_kit.plugin.discovery import installed_catalog


def part(checkpoint: Path | str, *, model_types: tuple[str, ...] = (), kind: str = "llm") -> Any:
    spec = SimpleNamespace(kind=kind, model_types=model_types)
    return SimpleNamespace(checkpoint=str(checkpoint), offer=SimpleNamespace(spec=spec), part=SimpleNamespace(name="a"))


@pytest.fixture
def sources() -> Sources:
    return Sources(installed_catalog())


def directory(folder: Path, content: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def test_parts_of_one_checkpoint_have_one_source(sources, tmp_path):
    model = toys.save_picture_model(tmp_path)
    opened = sources.of(part(model))
    assert isinstance(opened, SavedModel)
    assert sources.of(part(model, kind="tower")) is opened
    own = sources.of(part(tmp_path / "llm"))
    assert isinstance(own, OwnCheckpoint)
    assert own is not opened


@pytest.mark.parametrize("checkpoint", ["", "org/name"])
def test_a_hub_name_and_a_new_part_are_read_by_their_class(sources, checkpoint):
    assert isinstance(sources.of(part(checkpoint)), OwnCheckpoint)


def test_another_projects_model_gives_parts_to_a_class_that_reads_such_alone(sources, tmp_path):
    llava = directory(tmp_path / "llava", {"model_type": "llava", "vision_config": {}})
    with pytest.raises(KitError, match=r"tower 'a': '.*llava' is a checkpoint of transformers; 'tinyllava convert'"):
        sources.of(part(llava, kind="tower"))
    assert isinstance(sources.of(part(llava, model_types=("llava",))), OwnCheckpoint)
