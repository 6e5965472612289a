"""``tinyllava train``: what is run, and every wrong turn in one line with exit code 2."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.cli.running import in_this_process, refused, write_recipe
from tests.processes import tinyllava

pytestmark = pytest.mark.slow


def test_a_complete_stage_is_not_run_again(assembled):
    name = write_recipe(assembled, "twice.yaml")
    tinyllava("train", name, cwd=assembled)
    log = assembled / "runs-twice.yaml" / "joint" / "log.json"
    written = log.stat().st_mtime_ns
    assert tinyllava("train", name, cwd=assembled).returncode == 0
    assert log.stat().st_mtime_ns == written


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
def test_a_bad_recipe_or_bad_data_is_one_line(assembled, text, match, monkeypatch, capfd):
    monkeypatch.chdir(assembled)
    (assembled / "empty.json").write_text("[]")
    (assembled / "bad.jsonl").write_text('{"conversations": []}\n{oops\n')
    two = [{"image": "images/0.png", "conversations": [{"from": "human", "value": "<image><image>"}]}]
    (assembled / "two.json").write_text(json.dumps(two))
    (assembled / "bad.yaml").write_text(text)
    refused(in_this_process("train", "bad.yaml", capfd=capfd), match)
    assert not (assembled / "o").exists()


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
