"""The way of a user: assemble, train, ask, on toy checkpoints; and every wrong turn in one line with exit code 2."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import toys

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'cli'}", "HF_HUB_OFFLINE": "1"}


def tinyllava(*words, cwd, **options):
    command = [sys.executable, "-m", "tinyllava_kit_cli", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, **options)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with checkpoints, rows, pictures and an assembled model."""
    folder = tmp_path_factory.mktemp("user")
    toys.save_llama(folder / "llm")
    toys.picture_rows(folder)
    made = tinyllava("assemble", *PARTS, "-o", "model", cwd=folder)
    assert made.returncode == 0, made.stderr
    return folder


PARTS = ["--llm", "llama:llm", "--tower", f"image=clip:{toys.CLIP}", "--connector", "image=mlp2x_gelu"]


def recipe(folder, name="recipe.yaml", **stage):
    stage = {
        "name": "joint",
        "data": "rows.json",
        "train": {"connector.image": "full"},
        "max_steps": 2,
        "batch_size": 2,
        **stage,
    }
    (folder / name).write_text(yaml.safe_dump({"model": "model", "output": f"runs-{name}", "stages": [stage]}))
    return name


def refused(done, match):
    """One line on stderr, no traceback, exit code 2."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(errors) == 1, done.stderr
    assert match in errors[0]


def test_a_dry_run_prints_every_part_and_writes_nothing(place):
    before = sorted(place.iterdir())
    done = tinyllava("assemble", *PARTS, "--dry-run", cwd=place)
    assert done.returncode == 0, done.stderr
    for word in ("llm", "tower image", "connector image", "to load:", "to train the connectors", "to generate"):
        assert word in done.stdout
    assert sorted(place.iterdir()) == before


def test_a_yaml_file_makes_the_model_that_the_flags_make(place):
    parts = {
        "llm": "llama:llm",
        "towers": {"image": {"name": "clip", "checkpoint": str(toys.CLIP)}},
        "connectors": {"image": "mlp2x_gelu"},
    }
    (place / "assembly.yaml").write_text(yaml.safe_dump(parts))
    done = tinyllava("assemble", "assembly.yaml", "-o", "from-yaml", cwd=place)
    assert done.returncode == 0, done.stderr
    for file in ("config.json", "model.safetensors", "processor_config.json"):
        assert (place / "from-yaml" / file).read_bytes() == (place / "model" / file).read_bytes()


def test_train_then_ask_about_a_picture(place):
    done = tinyllava("train", recipe(place), cwd=place)
    assert done.returncode == 0, done.stderr
    trained = place / "runs-recipe.yaml" / "joint"
    assert (trained / "log.json").exists()
    asked = tinyllava("ask", trained, "--image", "images/0.png", "what?", "--max-new-tokens", "4", cwd=place)
    assert asked.returncode == 0, asked.stderr
    again = tinyllava(
        "ask", trained, "--item", "image=images/0.png", "<image>\nwhat?", "--max-new-tokens", "4", cwd=place
    )
    assert again.stdout == asked.stdout


def test_a_complete_stage_is_not_run_again(place):
    name = recipe(place, "twice.yaml")
    tinyllava("train", name, cwd=place)
    log = place / "runs-twice.yaml" / "joint" / "log.json"
    written = log.stat().st_mtime_ns
    assert tinyllava("train", name, cwd=place).returncode == 0
    assert log.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--llm", "lama:llm"], "no llm is called 'lama'; did you mean 'llama'?"),
        (["--llm", "llama:nowhere/at/all"], "no checkpoint directory 'nowhere/at/all'"),
        (["--llm", f"llama:{toys.CLIP}"], "is a 'clip' checkpoint; this component takes 'llama'"),
        ([*PARTS[:2], "--tower", "image=clip:llm", *PARTS[4:]], "is a 'llama' checkpoint"),
        ([*PARTS[:4]], "modality 'image' has a tower but no connector"),
        ([*PARTS[:4], "--connector", "image=mlp2x_gellu"], "did you mean 'mlp2x_gelu'?"),
        ([*PARTS[:4], "--connector", "audio=linear", *PARTS[4:]], "no tower reads 'audio'"),
        (
            [*PARTS[:2], "--tower", f"audio=clip:{toys.CLIP}", "--connector", "audio=linear"],
            "reads 'image', not 'audio'",
        ),
        ([*PARTS, "--set", "tower.image.layr=1"], "has no option 'layr'; did you mean 'layer'?"),
        ([*PARTS, "--set", "tower.image.layer=one"], "option 'layer' wants int, got 'one'"),
        ([*PARTS[:4], "--connector", "image=identity"], "identity"),
        (
            [*PARTS[:4], "--connector", "image=pixel_shuffle_mlp", "--set", "connector.image.factor=3"],
            "connectors.image",
        ),
        (["--llm", "llama:llm", "--tower", "image"], "--tower wants MODALITY=NAME"),
    ],
)
def test_what_cannot_be_assembled_is_refused_before_a_weight_is_read(place, words, match):
    refused(tinyllava("assemble", *words, "-o", "never", cwd=place), match)
    assert not (place / "never").exists()


def test_an_output_directory_with_something_in_it_is_left_alone(place):
    refused(tinyllava("assemble", *PARTS, "-o", "images", cwd=place), "'images' exists and is not empty")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("model: [", "not YAML"),
        ("- a", "wants a mapping, got list"),
        ("model: model\noutput: o\nstages: []", "stages"),
        (
            "model: model\noutput: o\nstages:\n- {name: a, data: rows.json, train: {llm: full}, epoch: 2}",
            "did you mean 'epochs'?",
        ),
        ("model: model\noutput: o\nstages:\n- {name: a, data: rows.json, train: {llm: ful}}", "'ful'"),
        (
            "model: model\noutput: o\nstages:\n- {name: a, data: gone.json, train: {llm: full}}",
            "cannot read data 'gone.json'",
        ),
        (
            "model: gone\noutput: o\nstages:\n- {name: a, data: rows.json, train: {llm: full}}",
            "no model directory 'gone'",
        ),
        ("model: llm\noutput: o\nstages:\n- {name: a, data: rows.json, train: {llm: full}}", "llm"),
        (
            "model: model\noutput: o\nstages:\n- {name: a, data: rows.json, train: {connector.imag: full}}",
            "did you mean 'connector.image'",
        ),
        ("model: model\noutput: o\nstages:\n- {name: a, data: empty.json, train: {llm: full}}", "has no rows"),
        ("model: model\noutput: o\nstages:\n- {name: a, data: bad.jsonl, train: {llm: full}}", "bad.jsonl line 2"),
        ("model: model\noutput: o\nstages:\n- {name: a, data: two.json, train: {llm: full}}", "the text has 2 <image>"),
    ],
)
def test_a_bad_recipe_or_bad_data_is_one_line(place, text, match):
    (place / "empty.json").write_text("[]")
    (place / "bad.jsonl").write_text('{"conversations": []}\n{oops\n')
    two = [{"image": "images/0.png", "conversations": [{"from": "human", "value": "<image><image>"}]}]
    (place / "two.json").write_text(json.dumps(two))
    (place / "bad.yaml").write_text(text)
    refused(tinyllava("train", "bad.yaml", cwd=place), match)
    assert not (place / "o").exists()


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["nowhere", "x"], "no model directory 'nowhere'"),
        (["images", "x"], "'images' is not a model directory"),
        (["model", "--image", "gone.png", "x"], "gone.png"),
        (["model", "--image", "rows.json", "x"], "rows.json"),
        (["model", "--item", "images/0.png", "x"], "--item wants MODALITY=FILE"),
        (["model", "--item", "audio=images/0.png", "x"], "the model does not read 'audio'; it reads image"),
        (["model", "<image> x"], "the question has 1 <image>, 0 image item(s) are given"),
        (["model", "--image", "images/0.png", "--image", "images/1.png", "<image> x"], "1 <image>, 2 image item(s)"),
    ],
)
def test_a_question_that_cannot_be_asked_is_one_line(place, words, match):
    refused(tinyllava("ask", *words, cwd=place), match)


def test_a_full_disk_leaves_no_half_model(place):
    def small_files_only():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = tinyllava("assemble", *PARTS, "-o", "full", cwd=place, preexec_fn=small_files_only)
    refused(done, "cannot save")
    assert not (place / "full").exists()
    assert not [path for path in place.iterdir() if path.name.startswith(".full")]


def test_a_full_disk_leaves_the_old_model_as_it_was(place):
    def small_files_only():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    before = {p.name: p.read_bytes() for p in (place / "model").iterdir()}
    done = tinyllava(
        "assemble", *PARTS, "-o", "model", "--force", "--seed", "9", cwd=place, preexec_fn=small_files_only
    )
    refused(done, "cannot save")
    assert {p.name: p.read_bytes() for p in (place / "model").iterdir()} == before
