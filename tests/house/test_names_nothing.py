"""The core, and what a model is made with, name no modality except text, and no backbone."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

KIT = Path(__file__).parents[2] / "tinyllava_kit"
ROOMS = ("files", "plugin", "pretrained", "core", "model", "processing", "assembly")
FILES = sorted(file for room in ROOMS for file in (KIT / room).rglob("*.py"))

# In code: names and strings. A docstring or a comment may take one as its example.
MODALITIES = """
    image picture photo pixel vision visual video frame tile anyres rgb png jpeg jpg
    audio sound speech voice wave waveform wav spectrogram mel sensor
"""
# Names that transformers gave.
FOREIGN = ("AutoModelForImageTextToText",)
# Anywhere, docstrings and comments included.
BACKBONES = """
    clip siglip dinov2 dino vit efficientnet timm resnet convnext wav2vec2 wav2vec whisper hubert encodec
    llama tinyllama smollm phi gemma qwen mistral stablelm openelm vicuna bert gpt2
"""


def words(text: str) -> Iterator[str]:
    """The words in an identifier or a text, lower case: ``ImageModality`` and ``image_tower`` both hold image.

    A number ends a word unless it belongs to it; a plural is its singular.
    """
    for name in re.findall(r"[A-Za-z][A-Za-z0-9]*", text):
        for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name):
            yield from {word.lower(), word.lower().removesuffix("s"), word.lower().rstrip("0123456789")}


def code_of(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every name and string of the code; no comments, no docstrings."""
    tree = ast.parse(source)
    docstrings = {  # also those below a field
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        is_docstring = token.type == tokenize.STRING and token.start[0] in docstrings
        if token.type != tokenize.COMMENT and not is_docstring and token.string not in FOREIGN:
            yield token.start[0], token.string


def named_in_code(source: str, banned: str) -> list[str]:
    return [f"line {line}: {text}" for line, text in code_of(source) if set(words(text)) & set(banned.split())]


def named_anywhere(source: str, banned: str) -> list[str]:
    lines = enumerate(source.splitlines(), 1)
    return [f"line {number}: {line.strip()}" for number, line in lines if set(words(line)) & set(banned.split())]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(KIT)))
def test_no_file_of_the_core_names_a_modality_in_its_code(file: Path) -> None:
    assert not set(words(file.stem)) & {*MODALITIES.split(), *BACKBONES.split()}
    assert named_in_code(file.read_text(encoding="utf-8"), MODALITIES) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(KIT)))
def test_no_file_of_the_core_names_a_backbone_anywhere(file: Path) -> None:
    assert named_anywhere(file.read_text(encoding="utf-8"), BACKBONES) == []


@pytest.mark.parametrize(
    "line",
    [
        "def read_image(path): ...",
        "class ImageTower: ...",
        "inputs['pixel_values'] = 1",
        "print(f'no {kind} <image>')",
        "KINDS = {'audio': 1}",
        "def f(images): ...",
    ],
)
def test_the_search_finds_a_modality_in_names_and_strings(line: str) -> None:
    assert named_in_code(f'"""About things."""\n{line}\n', MODALITIES)


def test_the_search_leaves_docstrings_and_comments_alone() -> None:
    source = '"""For one image."""\n\ndef f():\n    """An image."""\n    return 1  # image\n'
    assert named_in_code(source, MODALITIES) == []


@pytest.mark.parametrize(
    "line",
    ["x = 1  # as CLIP does", "from transformers import LlamaForCausalLM", "'tinyllama'", "dinov2_small", "Qwen2"],
)
def test_the_search_finds_a_backbone_in_code_and_comments(line: str) -> None:
    assert named_anywhere(line, BACKBONES)


def test_the_kits_own_name_is_no_backbone() -> None:
    assert named_anywhere("TinyLlavaForConditionalGeneration, tinyllava_kit: LLaVA rows, TinyLLaVA", BACKBONES) == []
