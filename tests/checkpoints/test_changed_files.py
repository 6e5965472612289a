"""Changed files of a model's directory and of the checkpoints that it is made of: a line for the user, or a model."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import toys
from tests.fuzz import damaged, documents, failures
from tinyllava_kit import KitError, TinyLlavaForConditionalGeneration
from tinyllava_kit.assembly.building import assemble
from tinyllava_kit.checkpoints.checking import check
from tinyllava_kit.checkpoints.loading import load_pretrained, open_checkpoint
from tinyllava_kit.inference.answering import answer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model, ``model``, the LLM that it is made of, ``llm``, and a picture."""
    folder = tmp_path_factory.mktemp("changed")
    model = toys.save_picture_model(folder)
    toys.save_pictures(folder, 1)
    open_checkpoint(model).processor()  # what the children need is imported once, here
    tower = folder / "clip"
    tower.mkdir()
    for file in toys.CLIP.iterdir():
        (tower / file.name).write_bytes(file.read_bytes())
    return folder


@contextmanager
def with_file(directory: Path, name: str, content: bytes) -> Iterator[str]:
    """A directory that is `directory`, but for one file."""
    with tempfile.TemporaryDirectory() as place:
        for file in directory.iterdir():
            if file.name != name:
                os.symlink(file, Path(place) / file.name)
        (Path(place) / name).write_bytes(content)
        yield place


def tries(directory: Path, name: str, use: Callable[[str], Any]) -> list[str]:
    """`failures` of what is done with a directory of which one file is changed."""

    def action(content: bytes) -> None:
        with with_file(directory, name, content) as place:
            use(place)

    raw = (directory / name).read_text(encoding="utf-8")
    changed = documents(json.loads(raw)) if name.endswith(".json") else damaged(raw)
    return failures(changed, action)


def ask(toy: Path, with_picture: bool = True) -> Callable[[str], Any]:
    content: list[Any] = ["What is it?"]
    if with_picture:
        content.insert(0, {"type": "image", "image": str(toy / "0.png")})

    def use(place: str) -> None:
        model, processor = load_pretrained(place)
        asked = processor.conversation([{"role": "user", "content": content}])
        answer(model, processor, [asked], max_new_tokens=2)

    return use


def encode(toy: Path) -> Callable[[str], Any]:
    content = [{"type": "image", "image": str(toy / "0.png")}, "What is it?"]

    def use(place: str) -> None:
        processor = open_checkpoint(place).processor()
        processor([{"role": "user", "content": content}])
        processor.decode([5, 6, 7])

    return use


def see(toy: Path) -> Callable[[str], Any]:
    """With a tower."""

    def use(place: str) -> None:
        settings = {"llm": f"llama:{toy / 'llm'}", "towers": [f"image=clip:{place}"], "connectors": ["image=linear"]}
        _, processor = assemble(toys.Assembly.from_flags(**settings))
        processor([{"role": "user", "content": [{"type": "image", "image": str(toy / "0.png")}]}])

    return use


@pytest.mark.parametrize("name", ["processor_config.json", "tokenizer_config.json", "tokenizer.json"])
def test_changed_files_of_a_processor(toy: Path, name: str) -> None:
    assert not failures_of(tries(toy / "model", name, encode(toy)))


def test_changed_templates(toy: Path) -> None:
    assert not failures_of(tries(toy / "model", "chat_template.jinja", encode(toy)))


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_changed_files_of_a_model(toy: Path, name: str) -> None:
    assert not failures_of(tries(toy / "model", name, ask(toy)))


def test_changed_configurations_are_checked_without_weights(toy: Path) -> None:
    assert not failures_of(tries(toy / "model", "config.json", check))


def test_changed_index_of_weights(toy: Path) -> None:
    model, _ = load_pretrained(toy / "model")
    sharded = toy / "sharded"
    if not sharded.exists():
        model.save_pretrained(sharded, max_shard_size="50KB")
        for file in (toy / "model").iterdir():
            if not (sharded / file.name).exists() and not file.name.endswith(".safetensors"):
                (sharded / file.name).write_bytes(file.read_bytes())
    name = "model.safetensors.index.json"
    assert not failures_of(tries(sharded, name, TinyLlavaForConditionalGeneration.from_pretrained))
    assert not failures_of(tries(sharded, name, lambda place: check(place)))


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_changed_files_of_a_tower(toy: Path, name: str) -> None:
    assert not failures_of(tries(toy / "clip", name, see(toy)))


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json"])
def test_changed_files_of_an_llm(toy: Path, name: str) -> None:
    def use(place: str) -> None:
        assemble(toys.picture_assembly(Path(place)))

    assert not failures_of(tries(toy / "llm", name, use))


@pytest.mark.parametrize("name", ["config.json", "processor_config.json"])
def test_changed_files_of_a_saved_model_that_gives_parts(toy: Path, name: str) -> None:
    def use(place: str) -> None:
        settings = {
            "llm": f"llama:{toy / 'llm'}",
            "towers": [f"image=clip:{place}"],
            "connectors": [f"image=mlp2x_gelu:{place}"],
        }
        assemble(toys.Assembly.from_flags(**settings))

    assert not failures_of(tries(toy / "model", name, use))


@pytest.mark.parametrize(
    "of_calls",
    [{"return_dict": False}, {"output_hidden_states": [None]}, {"output_hidden_states": "x"}, {"output_attentions": 1}],
)
def test_how_a_network_is_called_is_not_taken_from_a_file(toy: Path, of_calls: dict[str, Any]) -> None:
    content = json.loads((toy / "model" / "config.json").read_text())
    content["text_config"] |= of_calls
    content["towers"]["image"]["config"]["vision_config"] |= of_calls
    with with_file(toy / "model", "config.json", json.dumps(content).encode()) as place:
        ask(toy)(place)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_std", [0.3, 0.3, 1e308]),
        ("image_std", [1e-300] * 3),
        ("image_mean", [-1e39, 0, 0]),
        ("rescale_factor", 1e99),
    ],
)
def test_numbers_that_no_picture_is_computed_with_are_named(toy: Path, key: str, value: Any) -> None:
    content = {**json.loads((toy / "clip" / "preprocessor_config.json").read_text()), key: value}
    said = pytest.raises(KitError, match=rf"{key}\S* expected (greater|less) than or equal to -?[01]")
    with with_file(toy / "clip", "preprocessor_config.json", json.dumps(content).encode()) as place, said:
        see(toy)(place)


def failures_of(lines: list[str]) -> str:
    """Readable in an assertion."""
    return "\n".join(lines)
