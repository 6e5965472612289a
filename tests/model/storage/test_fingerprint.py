"""What a model's answers depend on tells its directory apart, and nothing else does."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tinyllava_kit.model.storage.fingerprint import fingerprint


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    contents = {
        "config.json": b"{}",
        "model.safetensors": bytes(range(256)) * 5000,  # more than is read at once
        "tokenizer.json": b"[]",
        "adapters/llm/adapter_model.safetensors": b"rows",
        "README.md": b"card",
        "checkpoints/checkpoint-2/trained.safetensors": b"on the way",
    }
    for name, content in contents.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(content)
    return tmp_path / "model"


def test_it_is_the_hash_of_names_sizes_and_contents_in_order(directory: Path) -> None:
    names = ("adapters/llm/adapter_model.safetensors", "config.json", "model.safetensors", "tokenizer.json")
    whole = b""
    for name in names:
        content = (directory / name).read_bytes()
        whole += f"{name} {len(content)}\n".encode() + content
    assert fingerprint(directory) == hashlib.sha256(whole).hexdigest()
    assert fingerprint(str(directory)) == fingerprint(directory)


@pytest.mark.parametrize("name", ["README.md", "stage.json", "checkpoints/checkpoint-2/trained.safetensors"])
def test_what_no_answer_depends_on_changes_nothing(directory: Path, name: str) -> None:
    before = fingerprint(directory)
    (directory / name).write_text("another")
    assert fingerprint(directory) == before


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "chat_template.jinja", "tokenizer.model", "part.bin"]
)
def test_what_answers_depend_on_changes_it(directory: Path, name: str) -> None:
    before = fingerprint(directory)
    (directory / name).write_text("another")
    assert fingerprint(directory) != before


def test_a_hub_name_is_its_own() -> None:
    assert fingerprint("org/name") == "org/name"
