"""lmms-eval's own command on a task of a local file. Skipped without lmms-eval; ``make test-lmms`` has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from tests import toys
from tinyllava_kit import answer, load_pretrained
from tinyllava_kit.interfaces import ITEM, Conversation, Item, Turn

pytest.importorskip("lmms_eval", reason="lmms-eval is not installed; make test-lmms runs these tests with it")

TASK = """\
task: toy
dataset_path: parquet
dataset_kwargs:
  data_files:
    test: rows.parquet
test_split: test
output_type: generate_until
doc_to_visual: !function utils.pictures
doc_to_text: !function utils.question
doc_to_messages: !function utils.messages
doc_to_target: answer
process_results: !function utils.score
generation_kwargs: {max_new_tokens: 5, temperature: 0, do_sample: false}
metric_list: [{metric: exact, aggregation: mean, higher_is_better: true}]
"""
UTILS = """\
def pictures(row):
    return [row["picture"].convert("RGB")]


def question(row, lmms_eval_specific_kwargs=None):
    return row["question"]


def messages(row, lmms_eval_specific_kwargs=None):
    picture, text = {"type": "image", "url": pictures(row)[0]}, {"type": "text", "text": question(row)}
    return [{"role": "user", "content": [picture, text]}]


def score(row, results):
    return {"exact": float(results[0] == row["answer"])}
"""


def test_the_command_runs_a_task_and_answers_as_asked_directly(tmp_path):
    datasets = pytest.importorskip("datasets")
    toys.save_picture_model(tmp_path)
    names = toys.save_pictures(tmp_path, 3)
    model, processor = load_pretrained(tmp_path / "model")
    asked = []
    for number, name in enumerate(names):
        item = Item("image", Image.open(tmp_path / name))
        asked.append(Conversation((Turn("user", f"{ITEM}\nwhat is {number}?"),), (item,)))
    said = [answer(model, processor, [one], max_new_tokens=5)[0] for one in asked]
    columns = {
        "picture": [str(tmp_path / name) for name in names],
        "question": [f"what is {number}?" for number in range(3)],
        "answer": [*said[:2], "another"],
    }
    rows = datasets.Dataset.from_dict(columns).cast_column("picture", datasets.Image())
    rows.to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "toy.yaml").write_text(TASK)
    (tmp_path / "tasks" / "utils.py").write_text(UTILS)
    words = "--model tinyllava_kit --model_args pretrained=model --tasks toy --include_path tasks --batch_size 2"
    done = subprocess.run(
        [sys.executable, "-m", "lmms_eval", *words.split(), "--log_samples", "--output_path", "out"],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    (samples,) = (tmp_path / "out").rglob("*_samples_toy.jsonl")
    records = [json.loads(line) for line in samples.read_text().splitlines()]
    assert [record["filtered_resps"] for record in records] == said
    (figures,) = (tmp_path / "out").rglob("*_results.json")
    assert json.loads(figures.read_text())["results"]["toy"]["exact,none"] == pytest.approx(2 / 3)
