"""The way of a user: assemble, train, ask, on toy checkpoints; and every wrong turn in one line with exit code 2."""

from __future__ import annotations

import functools
import io
import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
import yaml
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from tests import toys
from tests.limits import limit_files
from tests.processes import tinyllava
from tinyllava_kit.checkpoints import loading
from tinyllava_kit_cli import app

pytestmark = pytest.mark.slow

SMALL_FILES = functools.partial(limit_files, 20_000)


def in_this_process(*words, capfd):
    """The same without a process of its own."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        app.main([*map(str, words)])
    return subprocess.CompletedProcess(words, ended.value.code or 0, *capfd.readouterr())


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


HEARING = ["--llm", "llama:llm", "--tower", "audio=wav2vec2:encoder", "--connector", "audio=stack_mlp"]


@pytest.fixture(scope="module")
def damaged(place):
    """The same folder with a model that hears, and ``bad/`` of files that cannot be read beside one that can."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 22, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 29}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 11}
    Wav2Vec2Model(Wav2Vec2Config(**sizes, **positions, conv_dim=[13] * 7)).save_pretrained(place / "encoder")
    Wav2Vec2FeatureExtractor().save_pretrained(place / "encoder")
    made = tinyllava("assemble", *HEARING, "-o", "hearing", cwd=place)
    assert made.returncode == 0, made.stderr
    bad = place / "bad"
    bad.mkdir()
    tone = np.sin(np.arange(8000) / 7)
    soundfile.write(bad / "whole.wav", tone, 16000)
    (bad / "cut.wav").write_bytes((bad / "whole.wav").read_bytes()[:5000])
    (bad / "cut.png").write_bytes((place / "images/0.png").read_bytes()[:700])
    (bad / "empty").touch()
    rows = [{"audio": "whole.wav", "text": "a tone"}, {"audio": "cut.wav", "text": "half of it"}]
    (bad / "cut.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for sound in (tone, np.where(np.arange(8000) == 5, np.nan, tone)):
        rows.append({"audio": {"array": sound.tolist(), "sampling_rate": 16000}, "text": "a tone"})
    (bad / "nan.jsonl").write_text("\n".join(map(json.dumps, rows[2:])))
    return place


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


def test_a_dry_run_prints_every_part_and_writes_nothing(place, monkeypatch, capfd):
    monkeypatch.chdir(place)
    before = sorted(place.iterdir())
    done = in_this_process("assemble", *PARTS, "--dry-run", capfd=capfd)
    assert done.returncode == 0, done.stderr
    for word in ("llm", "tower image", "connector image", "to load:", "to train the connectors", "to generate"):
        assert word in done.stdout
    assert sorted(place.iterdir()) == before


def test_a_yaml_file_makes_the_model_that_the_flags_make(place, monkeypatch, capfd):
    monkeypatch.chdir(place)
    parts = {
        "llm": "llama:llm",
        "towers": {"image": {"name": "clip", "checkpoint": str(toys.CLIP)}},
        "connectors": {"image": "mlp2x_gelu"},
    }
    (place / "assembly.yaml").write_text(yaml.safe_dump(parts))
    done = in_this_process("assemble", "assembly.yaml", "-o", "from-yaml", capfd=capfd)
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
        (["--llm", "llama:modle"], "no checkpoint directory 'modle'; did you mean 'model'?"),
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
        ([*PARTS, "--set", "tower.image.layer=one"], "option 'layer' needs int, got 'one'"),
        ([*PARTS[:4], "--connector", "image=identity"], "identity"),
        (
            [*PARTS[:4], "--connector", "image=pixel_shuffle_mlp", "--set", "connector.image.factor=3"],
            "connectors.image",
        ),
        (["--llm", "llama:llm", "--tower", "image"], "--tower needs MODALITY=NAME"),
    ],
)
def test_what_cannot_be_assembled_is_refused_before_a_weight_is_read(place, words, match, monkeypatch, capfd):
    monkeypatch.chdir(place)
    refused(in_this_process("assemble", *words, "-o", "never", capfd=capfd), match)
    assert not (place / "never").exists()


def test_an_output_directory_with_something_in_it_is_left_alone(place, monkeypatch, capfd):
    monkeypatch.chdir(place)
    refused(in_this_process("assemble", *PARTS, "-o", "images", capfd=capfd), "'images' exists and is not empty")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("model: [", "not YAML"),
        ("- a", "needs a mapping, got list"),
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
def test_a_bad_recipe_or_bad_data_is_one_line(place, text, match, monkeypatch, capfd):
    monkeypatch.chdir(place)
    (place / "empty.json").write_text("[]")
    (place / "bad.jsonl").write_text('{"conversations": []}\n{oops\n')
    two = [{"image": "images/0.png", "conversations": [{"from": "human", "value": "<image><image>"}]}]
    (place / "two.json").write_text(json.dumps(two))
    (place / "bad.yaml").write_text(text)
    refused(in_this_process("train", "bad.yaml", capfd=capfd), match)
    assert not (place / "o").exists()


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["nowhere", "x"], "no model directory 'nowhere'"),
        (["modle", "x"], "no model directory 'modle'; did you mean 'model'?"),
        (["images", "x"], "'images' is not a model directory"),
        (["model", "--image", "gone.png", "x"], "gone.png"),
        (["model", "--image", "rows.json", "x"], "rows.json"),
        (["model", "--image", "bad/cut.png", "x"], "cannot read image 'bad/cut.png': image file is truncated"),
        (["model", "--image", "bad/empty", "x"], "cannot read image 'bad/empty': damaged, or not one of JPEG"),
        (["model", "--image", "images", "x"], "image 'images' is not a file"),
        (["hearing", "--audio", "gone.wav", "x"], "cannot open 'gone.wav': No such file"),
        (["hearing", "--audio", "bad/cut.wav", "x"], "'bad/cut.wav' is truncated"),
        (["hearing", "--audio", "bad/empty", "x"], "cannot decode 'bad/empty'"),
        (["hearing", "--audio", "bad", "x"], "cannot open 'bad': Is a directory"),
        (["hearing", "--audio", "images/0.png", "x"], "cannot decode 'images/0.png'"),
        (["hearing", "--audio", "rows.json", "x"], "cannot decode 'rows.json'"),
        (["model", "what? " * 300], "and leaves no room for an answer; the LLM has 512"),
        (["model"], "Missing argument 'QUESTION'; see 'tinyllava ask --help'"),
        (["model", "--item", "images/0.png", "x"], "--item needs MODALITY=FILE"),
        (["model", "--item", "audio=images/0.png", "x"], "the model does not read 'audio'; it reads image"),
        (["model", "<image> x"], "the question has 1 <image>, 0 image item(s) are given"),
        (["model", "--image", "images/0.png", "--image", "images/1.png", "<image> x"], "1 <image>, 2 image item(s)"),
    ],
)
def test_a_question_that_cannot_be_asked_is_one_line(damaged, words, match, monkeypatch, capfd):
    monkeypatch.chdir(damaged)
    done = in_this_process("ask", *words, capfd=capfd)
    refused(done, match)
    assert done.stdout == ""


def test_a_question_from_standard_input_and_its_answer_as_json(place, monkeypatch, capfd):
    monkeypatch.chdir(place)
    words = ["ask", "model", "--image", "images/0.png", "--max-new-tokens", "4"]
    said = in_this_process(*words, "is <image> it?", capfd=capfd).stdout
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"is <image> it?\n")))
    done = in_this_process(*words, "-", "--json", "--device", "cpu", "--dtype", "float32", capfd=capfd)
    assert json.loads(done.stdout) == {
        "model": "model",
        "question": "is <image> it?",
        "items": [{"modality": "image", "file": "images/0.png"}],
        "answer": said.strip(),
        "written": [],
    }


def test_the_costs_as_json_are_those_of_the_table(place, monkeypatch, capfd):
    monkeypatch.chdir(place)
    table = in_this_process("assemble", *PARTS, "--dry-run", "--dtype", "bfloat16", capfd=capfd).stdout
    costs = json.loads(
        in_this_process("assemble", *PARTS, "--dry-run", "--dtype", "bfloat16", "--json", capfd=capfd).stdout
    )
    assert [part["part"] for part in costs["parts"]] == ["llm", "tower image", "connector image"]
    for part in costs["parts"]:
        assert f"{part['parameters']:,}" in table
        assert part["bytes"] == 2 * part["parameters"]
        assert part["dtype"] == "bfloat16"
    total = sum(part["bytes"] for part in costs["parts"])
    joint = costs["parts"][2]["parameters"]
    assert costs["bytes"]["load"] == total
    assert costs["bytes"]["train_connectors"] == total + 10 * joint  # a gradient of 2 bytes, two states of 4
    assert costs["bytes"]["train_all"] == 6 * total
    assert costs["bytes"]["generate"] > total
    assert f"one sample of {costs['positions']} positions: {costs['bytes']['generate'] / 1e6:,.1f} MB" in table


def test_an_item_is_read_before_the_model(damaged, monkeypatch, capfd):
    monkeypatch.chdir(damaged)
    monkeypatch.setattr(loading, "read_pretrained", lambda *args, **kwargs: pytest.fail("the model was loaded"))
    done = in_this_process("ask", "model", "--image", "bad/cut.png", "what?", capfd=capfd)
    assert done.returncode == 2
    assert "bad/cut.png" in done.stderr


CUT = "'bad/cut.wav' is truncated: its header promises"


@pytest.mark.parametrize(
    ("data", "match", "stage"),
    [
        ("bad/cut.jsonl", f"error: stage 'a': bad/cut.jsonl[1]: {CUT}", {"workers": 1}),
        ("bad/cut.jsonl", f"error: stage 'a': bad/cut.jsonl[1]: {CUT}", {"cache_features": True}),
        ("bad/nan.jsonl", "error: stage 'a': bad/nan.jsonl[1]: 'audio array' is not finite at sample 5", {}),
    ],
)
def test_a_sound_of_the_data_that_cannot_be_read_is_one_line_and_nothing_is_left(damaged, data, match, stage):
    pairs = {"modality": "audio", "prompts": ["Repeat: <audio>"]}
    stage = {
        "name": "a",
        "data": {"path": data, "pairs": pairs},
        "train": {"connector.audio": "full"},
        "epochs": 1,
        "batch_size": 1,
        **stage,
    }
    text = yaml.safe_dump({"model": "hearing", "output": "heard", "stages": [stage]})
    (damaged / "unheard.yaml").write_text(text)
    done = tinyllava("train", "unheard.yaml", cwd=damaged)
    refused(done, match)
    assert done.stderr.splitlines()[-1].startswith("error: ")  # no progress bar behind it, or on its line
    assert not (damaged / "heard").exists()


def test_a_full_disk_leaves_no_half_model(place):
    done = tinyllava("assemble", *PARTS, "-o", "full", cwd=place, first=SMALL_FILES)
    refused(done, "cannot save")
    assert not (place / "full").exists()
    assert not [path for path in place.iterdir() if path.name.startswith(".full")]


def test_a_full_disk_leaves_the_old_model_as_it_was(place):
    before = {p.name: p.read_bytes() for p in (place / "model").iterdir()}
    done = tinyllava("assemble", *PARTS, "-o", "model", "--force", "--seed", "9", cwd=place, first=SMALL_FILES)
    refused(done, "cannot save")
    assert {p.name: p.read_bytes() for p in (place / "model").iterdir()} == before
