"""Changed assembly files, and changed saved models that give parts: a line for the user, or a model."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st

from tests import toys
from tests.fuzz import damaged, documents, failures
from tests.yaml_attacks import ATTACKS
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.assembly.blueprint import read_blueprint
from tinyllava_kit.assembly.building import assemble
from tinyllava_kit.plugin.discovery import discover

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model, ``model``, and the LLM that it is made of, ``llm``."""
    folder = tmp_path_factory.mktemp("toy")
    toys.save_picture_model(folder)
    return folder


def content(toy: Path) -> dict[str, Any]:
    return {
        "llm": f"llama:{toy / 'llm'}",
        "towers": {"image": {"name": "clip", "checkpoint": str(toys.CLIP), "options": {"layer": -2}}},
        "connectors": {"image": {"name": "mlp2x_gelu"}},
        "modalities": {"image": {"options": {"aspect": "pad"}}},
        "template": {"name": "vicuna"},
    }


def test_changed_assemblies(toy: Path, tmp_path: Path) -> None:
    def build(text: bytes) -> None:
        file = tmp_path / "assembly.yaml"
        file.write_bytes(text)
        read_blueprint(Assembly.from_yaml(file))

    discover()
    changed = st.one_of(*[documents(content(toy), yaml.safe_dump)] * 4, st.sampled_from(ATTACKS))
    assert not "\n".join(failures(changed, build))


@contextmanager
def with_weights(model: Path, weights: bytes) -> Iterator[Path]:
    """A model directory with other weights."""
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(model, place, dirs_exist_ok=True)
        (Path(place) / "model.safetensors").write_bytes(weights)
        yield Path(place)


def parts_of(toy: Path, model: Path) -> Assembly:
    return Assembly.from_flags(
        llm=f"llama:{toy / 'llm'}", towers=[f"image=clip:{model}"], connectors=[f"image=mlp2x_gelu:{model}"]
    )


def test_changed_weights_of_a_model_that_gives_parts(toy: Path) -> None:
    whole = (toy / "model" / "model.safetensors").read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header, rest = whole[8 : 8 + size], whole[8 + size :]

    def headed(text: bytes) -> bytes:
        return len(text).to_bytes(8, "little") + text + rest

    def build(weights: bytes) -> None:
        with with_weights(toy / "model", weights) as place:
            assemble(parts_of(toy, place))

    cut = st.integers(0, len(whole) - 1).map(lambda end: whole[:end])
    sizes = st.sampled_from([0, 1, 2**31, 2**63 - 1, 2**64 - 1]).map(lambda n: n.to_bytes(8, "little") + whole[8:])
    changed = st.one_of(
        cut, sizes, damaged(header.decode()).map(headed), st.sampled_from([b"", b"version https://git-lfs"])
    )
    assert not "\n".join(failures(changed, build))
