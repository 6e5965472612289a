"""What a user names is opened where it is a file, and followed no further than anybody means: pipes, patterns."""

from __future__ import annotations

import os
import shutil

import pytest
import yaml
from torch import nn

from tests import toys
from tinyllava_kit import KitError, load_pretrained
from tinyllava_kit.assembly.assembly import read_yaml
from tinyllava_kit.data.shards import named_files
from tinyllava_kit.data.sources import shares
from tinyllava_kit.errors import shown
from tinyllava_kit.evaluation.benchmarks.benchmark import read_json_lines
from tinyllava_kit.features.digests import source_digest
from tinyllava_kit.files.opening import check_directory, open_file, read_json, read_text
from tinyllava_kit.model.storage.recognition import open_if_external
from tinyllava_kit.pretrained.checkpoint import read_pretrained
from tinyllava_kit.training.recipe import Recipe


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return toys.save_picture_model(tmp_path_factory.mktemp("saved"))


@pytest.mark.parametrize("call", [open_file, read_text, read_json, read_yaml, read_json_lines])
@pytest.mark.parametrize("name", ["pipe", "/dev/zero", ".", "a\0b", "\ud800", "x" * 5000, "none"])
def test_what_is_no_file_is_not_opened(tmp_path, monkeypatch, call, name):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with pytest.raises((KitError, OSError)) as error:
        call(name)
    assert isinstance(error.value, OSError if call is open_file else KitError)
    if call is not open_file:
        assert len(str(error.value)) < 500
        str(error.value).encode()


def test_a_link_to_a_file_is_one_and_keeps_its_name(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").symlink_to("a")
    with open_file(tmp_path / "b") as file:
        assert (file.read(), file.name) == (b"x", str(tmp_path / "b"))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "more"])
def test_a_model_with_a_pipe_among_its_files_is_refused(tmp_path, saved, name):
    folder = shutil.copytree(saved, tmp_path / "model")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    for call in (
        load_pretrained,
        open_if_external,
        check_directory,
        lambda path: read_pretrained(nn.Module, str(path)),
    ):
        with pytest.raises(KitError, match=r"is a pipe and not a file|has no config\.json|not a model"):
            call(folder)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a{0..999999999999}.json", "names more than 100000 files; check its ranges"),
        ("a{0..9}{0..9}{0..9}{0..9}{0..9}{0..9}.json", "names more than 100000 files"),
        ("{.,.}/" * 40 + "a.json", "names more than 100000 files"),
        ("a{0.." + "9" * 5000 + "}.json", "there is no file"),
        ("a{3..1}.json", None),
        ("a{08..09}{,x}.json", r"there is no file 'a08\.json'"),
    ],
)
def test_a_pattern_is_not_followed_without_an_end(tmp_path, monkeypatch, pattern, message):
    monkeypatch.chdir(tmp_path)
    if message is None:
        assert named_files(pattern) == []
        return
    with pytest.raises(KitError, match=message) as error:
        named_files(pattern)
    assert len(str(error.value)) < 700


@pytest.mark.parametrize(
    ("key", "value"),
    [("epochs", 10**9), ("epochs", float("inf")), ("max_steps", 10**18), ("workers", 10**6), ("repeat", 10**9)],
)
def test_a_recipe_has_no_end_out_of_sight(tmp_path, key, value):
    stage = {"name": "s", "data": {"path": "rows.json"}, "train": {"llm": "full"}}
    (stage["data"] if key == "repeat" else stage)[key] = value
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump({"model": "m", "output": "o", "stages": [stage]}))
    with pytest.raises(KitError, match=rf"{key}.*less than or equal|a number that is not finite"):
        Recipe.from_yaml(file)


def test_weights_that_make_an_endless_epoch_are_refused():
    with pytest.raises(KitError, match="an epoch has more than 100000000 rows"):
        shares([100, 10], [1e-300, 1])


def test_a_long_name_has_a_digest_and_a_short_form():
    assert source_digest("x" * 5000) == source_digest("x" * 5000)
    assert len(shown("x" * 5000)) < 250
    assert shown({"a": [b"x" * 999] * 99}) == "{'a': [<999 bytes>, <999 bytes>, <999 bytes>, <999 bytes>, ...]}"
