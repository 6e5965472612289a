"""Streams and skipped rows in training: going on exactly, and what is written about bad rows."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import yaml

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.training.loop.trainer import KitTrainer
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reading")
    toys.save_picture_model(folder)
    rows = json.loads(toys.picture_rows(folder, 9).read_text())
    for number in range(3):
        (folder / f"{number}.jsonl").write_text("\n".join(map(json.dumps, rows[number * 3 : number * 3 + 3])))
    return folder


def recipe(place, name, data, **stage):
    stage = {
        "name": "s",
        "data": data,
        "train": {"connector.image": "full", "llm": {"mode": "lora", "lora": {"dropout": 0.3}}},
        "batch_size": 2,
        "logging_steps": 1,
        **stage,
    }
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"model": str(place / "model"), "output": str(place / name), "stages": [stage]}))
    return Recipe.from_yaml(path)


def losses(directory):
    return [e["loss"] for e in json.loads((directory / "log.json").read_text()) if "loss" in e]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_streamed_stage_that_was_interrupted_goes_on_as_if_it_was_not(place, monkeypatch, workers):
    data = {"path": str(place / "{0..2}.jsonl"), "stream": True, "shuffle": 4}
    how = {"max_steps": 6, "save_steps": 2, "gradient_accumulation": 2, "workers": workers}
    torch.manual_seed(0)  # of the adapters
    unbroken = run_recipe(recipe(place, f"unbroken{workers}", data, **how))
    broken = recipe(place, f"broken{workers}", data, **how)

    class Killed(Exception):
        pass

    def log(self, *args):
        if self.state.global_step == 5:
            raise Killed
        plain(self, *args)

    plain = KitTrainer.log
    torch.manual_seed(0)
    with monkeypatch.context() as patch:
        patch.setattr(KitTrainer, "log", log)
        with pytest.raises(Killed):
            run_recipe(broken)
    assert not (place / f"broken{workers}/s/config.json").exists()
    resumed = run_recipe(broken)
    assert losses(resumed) == losses(unbroken)
    one, other = (load_pretrained(directory)[0].state_dict() for directory in (unbroken, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("stream", [False, True])
def test_bad_rows_are_left_out_counted_and_listed(place, capsys, stream):
    folder = place / f"bad{stream}"
    shutil.copytree(place / "images", folder / "images")
    rows = json.loads((place / "rows.json").read_text())
    rows[2]["conversations"][0]["from"] = "usr"
    rows[0], rows[3] = rows[3], rows[0]
    cut = folder / "images" / "3.png"
    cut.write_bytes(cut.read_bytes()[:-2000])
    (folder / "rows.json").write_text(json.dumps(rows))
    data = {"path": str(folder / "rows.json"), "on_error": "skip", "stream": stream}
    done = run_recipe(recipe(place, f"skips{stream}", data, max_steps=9, batch_size=1))
    listed = [json.loads(line) for line in (done / "skipped.jsonl").read_text().splitlines()]
    assert {each["row"].rpartition("/")[2] for each in listed} == {f"rows.json[{n}] 'row-{n or 3}'" for n in (0, 2, 7)}
    assert sum("did you mean" in each["reason"] for each in listed) == 1
    assert f"3 rows were skipped; {done / 'skipped.jsonl'} says why" in capsys.readouterr().out
    assert all(loss >= 0 for loss in losses(done))  # and so not NaN where the batch was a bad row


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({}, "stage s: a streamed source has no end; give the stage max_steps"),
        ({"max_steps": 1, "group_by_size": True}, "stage s: group_by_size needs to see all rows"),
        ({"max_steps": 1, "cache_features": True}, "stage s: cache_features needs to see all rows"),
    ],
)
def test_what_a_stream_cannot_do_is_one_clear_line(place, stage, message):
    with pytest.raises(KitError, match=message):
        recipe(place, "refused", {"path": str(place / "0.jsonl"), "stream": True}, **stage)
