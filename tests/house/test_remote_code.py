"""Code that comes with a checkpoint is never run, and nobody is asked whether it should be."""

from __future__ import annotations

import ast
import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers.dynamic_module_utils as dynamic
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.assembly.building import assemble
from tinyllava_kit.checkpoints.checking import check
from tinyllava_kit.checkpoints.loading import load_pretrained

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SOURCES = ("tinyllava_kit", "cli", "plugins", "examples", "benchmarks")
READERS = ("from_pretrained", "from_config")
# Whose method is our own, which forbids such code itself, or no model's.
OURS = ("TinyLlava", "super()", "cls", "nn.Embedding")


def calls_without(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each call of a reader of transformers that does not forbid code."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READERS):
            continue
        forbids = any(
            word.arg == "trust_remote_code" and isinstance(word.value, ast.Constant) and word.value.value is False
            for word in node.keywords
        )
        if not forbids and not ast.unparse(node.func.value).startswith(OURS):
            yield node.lineno, ast.unparse(node)


def test_no_class_of_transformers_is_called_without_forbidding_code() -> None:
    files = [file for folder in SOURCES for file in (ROOT / folder).rglob("*.py") if "tests" not in file.parts]
    assert len(files) > 100
    found = [f"{file}:{line}: {call}" for file in files for line, call in calls_without(file.read_text("utf-8"))]
    assert not found, "\n".join(found)


def test_calls_without_are_found() -> None:
    source = "AutoModel.from_config(c)\nAutoModel.from_config(c, trust_remote_code=False)\nX.from_pretrained(p, **how)"
    assert [line for line, _ in calls_without(source)] == [1, 3]


AUTO_MAP = {
    f"Auto{name}": "evil.Evil"
    for name in (
        *("Config", "Model", "ModelForCausalLM", "ModelForImageTextToText", "Tokenizer", "Processor"),
        *("ImageProcessor", "FeatureExtractor", "VideoProcessor"),
    )
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote")
    toys.save_picture_model(folder)
    shutil.copytree(toys.CLIP, folder / "clip")
    return folder


@pytest.fixture(autouse=True)
def _watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks is answered yes; and code that would be run is not, but a failure that no `except` takes."""

    class Ran(BaseException):
        pass

    def ran(*args: Any, **kwargs: Any) -> Any:
        raise Ran(f"code of a checkpoint would be run: {args}")

    def asked(*args: Any) -> str:
        raise Ran(f"somebody was asked: {args}")

    monkeypatch.setattr("builtins.input", asked)
    monkeypatch.setattr(dynamic, "get_class_in_module", ran)
    monkeypatch.setattr(dynamic, "get_cached_module_file", ran)


def with_code(directory: Path, where: Path) -> Path:
    """A copy of a directory that brings code of every kind."""
    shutil.copytree(directory, where)
    (where / "evil.py").write_text("raise SystemExit('ran')\nclass Evil: pass\n")
    (where / "custom_generate").mkdir()
    (where / "custom_generate" / "generate.py").write_text("def generate(model, **how): raise SystemExit('ran')\n")
    (where / "custom_generate" / "requirements.txt").write_text("evil\n")
    return where


def edit(file: Path, at: tuple[str, ...], **new: Any) -> None:
    """Set keys of the mapping at a place of a JSON file, which is made where it is not there."""
    content = json.loads(file.read_text()) if file.exists() else {}
    place = content
    for key in at:
        place = place[key]
    place.update(new)
    file.write_text(json.dumps(content))


PLACES: list[tuple[str, tuple[str, ...]]] = [
    ("config.json", ()),
    ("config.json", ("text_config",)),
    ("config.json", ("towers", "image")),
    ("config.json", ("towers", "image", "config")),
    ("config.json", ("towers", "image", "config", "vision_config")),
    ("config.json", ("connectors", "image", "config")),
    ("config.json", ("connectors", "image", "options")),
    ("config.json", ("llm",)),
    ("processor_config.json", ()),
    ("processor_config.json", ("preprocessors", "image")),
    ("processor_config.json", ("preprocessors", "image", "processor")),
    ("preprocessor_config.json", ()),
    ("tokenizer_config.json", ()),
    ("special_tokens_map.json", ()),
    ("generation_config.json", ()),
]


@pytest.mark.parametrize(("file", "at"), PLACES)
def test_code_named_anywhere_in_a_model_is_not_run(toy: Path, tmp_path: Path, file: str, at: tuple[str, ...]) -> None:
    model = with_code(toy / "model", tmp_path / "model")
    named = {name: "evil.Evil" if len(name) % 2 else f"{model}--evil.Evil" for name in AUTO_MAP}
    edit(model / file, at, auto_map=named, custom_generate=str(model))
    uses: list[Any] = [load_pretrained, check]
    if file == "config.json" and at == ():
        uses += [AutoConfig.from_pretrained, AutoModelForCausalLM.from_pretrained]
    if "process" in file:
        uses += [AutoProcessor.from_pretrained]
    for use in uses:
        with contextlib.suppress(KitError, OSError, ValueError):  # transformers' own words from its own classes
            use(str(model))


@pytest.mark.parametrize("model_type", ["clip_text_model", "evil", "gemma3n", "timm_wrapper", "t5"])
def test_code_of_another_kind_of_llm_is_not_run(toy: Path, tmp_path: Path, model_type: str) -> None:
    model = with_code(toy / "model", tmp_path / "model")
    edit(model / "config.json", ("text_config",), model_type=model_type, auto_map=AUTO_MAP)
    for llm in ("llama", "causal_lm"):
        edit(model / "config.json", ("llm",), name=llm, distribution="")
        with pytest.raises(KitError, match="config"):
            load_pretrained(model)


AUTO_MAPS = [AUTO_MAP, ["evil.Evil", None], {name: ["evil.Evil", "evil.Evil"] for name in AUTO_MAP}]


@pytest.mark.parametrize("auto_map", AUTO_MAPS)
@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("llm", "config.json"),
        ("llm", "tokenizer_config.json"),
        ("clip", "config.json"),
        ("clip", "preprocessor_config.json"),
    ],
)
def test_code_of_a_checkpoint_that_becomes_a_part_is_not_run(
    toy: Path, tmp_path: Path, part: str, name: str, auto_map: Any
) -> None:
    place = with_code(toy / part, tmp_path / part)
    edit(place / name, (), auto_map=auto_map)
    parts = {"llm": toy / "llm", "clip": toy / "clip", part: place}
    flags = {"llm": f"llama:{parts['llm']}", "towers": [f"image=clip:{parts['clip']}"], "connectors": ["image=linear"]}
    try:
        model, _ = assemble(toys.Assembly.from_flags(**flags))
    except KitError:
        return
    assert not hasattr(model.config.text_config, "auto_map")


def test_an_llm_of_a_kind_that_is_no_language_model_is_refused(toy: Path, tmp_path: Path) -> None:
    model = with_code(toy / "model", tmp_path / "model")
    edit(model / "config.json", ("text_config",), model_type="clip_text_model", auto_map=AUTO_MAP)
    with pytest.raises(
        KitError, match=r"'text_config' is a 'clip_text_model' checkpoint; this component takes 'llama'"
    ):
        load_pretrained(model)
    edit(model / "config.json", ("llm",), name="causal_lm", distribution="")
    with pytest.raises(KitError, match="for which transformers has no causal language model"):
        load_pretrained(model)


def test_even_a_caller_that_trusts_it_does_not_have_it_run(toy: Path, tmp_path: Path) -> None:
    model = with_code(toy / "model", tmp_path / "model")
    AutoModelForImageTextToText.from_pretrained(str(model), trust_remote_code=True)
