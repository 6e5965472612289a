"""Held-out rows: judged while a stage trains; the best weights are kept, and a stage that gets no better ends."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
import torch
import yaml

from tests import toys
from tests.training.runs import losses, weights, write_recipe
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.data.dataset import Collator, ConversationDataset
from tinyllava_kit.data.sources import Pairs, Source
from tinyllava_kit.evaluation import accuracy, answers, read_questions
from tinyllava_kit.training.checks.data_check import check_data
from tinyllava_kit.training.loop.stopping import StoppedError, Stopper
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = pytest.mark.slow

CAPTIONS = ["a red hen", "two blue pigs", "a green cow"]
PROMPT = "Repeat <image> now."
PAIRS = {"modality": "image", "text": "caption", "prompts": [PROMPT]}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return toys.captioned_model(tmp_path_factory.mktemp("validation"), CAPTIONS)


def stage(place, *, rate=1e-2, **validation):
    data = {"path": str(place / "pairs.jsonl"), "pairs": PAIRS}
    return {
        "data": {**data, "repeat": 6},
        "train": {"connector.image": "full", "llm": "full"},
        "batch_size": 3,
        "learning_rate": rate,
        "logging_steps": 1,
        "validation": {"data": data, "every_steps": 2, **validation},
    }


def run(place, name, settings):
    return run_recipe(Recipe.from_yaml(write_recipe(place, name, settings)))


def log(place, name):
    return json.loads((place / name / "s" / "log.json").read_text())


@torch.no_grad()
def held_out_loss(place, folder, file="pairs.jsonl"):
    """The mean over all target tokens, row by row."""
    model, processor = load_pretrained(folder)
    source = Source(path=str(place / file), pairs=Pairs(**PAIRS))
    dataset = ConversationDataset.from_sources([source], processor)
    batches = [Collator(processor)([dataset[index]]) for index in range(len(dataset))]
    found = torch.cat([model.eval()(**batch).target_losses for batch in batches])
    return found.mean().item()


def test_loss_and_figures_are_those_of_the_model_at_that_step(place):
    """Behind the last step, too, though it is no multiple of `every_steps`."""
    target = run(place, "judged", {**stage(place, scorer="exact_match", keep="last"), "max_steps": 5})
    found = [entry for entry in log(place, "judged") if "eval_loss" in entry]
    assert [entry["step"] for entry in found] == [2, 4, 5]
    assert found[-1]["eval_loss"] == pytest.approx(held_out_loss(place, target), rel=1e-4)
    model, processor = load_pretrained(target)
    asked = read_questions(place / "pairs.jsonl", processor, prompt=PROMPT, text="caption")
    assert found[-1]["eval_accuracy"] == accuracy(answers(model, processor, asked, max_new_tokens=64))
    assert found[-1]["eval_score"] == found[-1]["eval_accuracy"]
    assert "held-out rows" in (target / "run.html").read_text()


def test_training_is_the_same_with_and_without_it(place):
    run(place, "with", {**stage(place, scorer="exact_match", keep="last"), "max_steps": 5})
    plain = {**stage(place), "max_steps": 5}
    del plain["validation"]
    run(place, "without", plain)
    assert losses(place, "with") == losses(place, "without")
    assert torch.equal(weights(place / "with" / "s"), weights(place / "without" / "s"))


def others(place):
    """The same pictures with other words: what is learned of the captions makes these less likely."""
    rows = [json.loads(line) for line in (place / "pairs.jsonl").read_text().splitlines()]
    lines = [json.dumps({**row, "caption": f"{number} grey geese over there"}) for number, row in enumerate(rows)]
    (place / "others.jsonl").write_text("\n".join(lines))
    return {"path": str(place / "others.jsonl"), "pairs": PAIRS}


def test_the_best_weights_are_what_the_stage_leaves(place, capsys):
    settings = stage(place)
    settings["validation"]["data"] = others(place)
    target = run(place, "best", {**settings, "max_steps": 20})
    found = [(entry["eval_loss"], entry["step"]) for entry in log(place, "best") if "eval_loss" in entry]
    least, step = min(found)
    assert step < 20
    assert held_out_loss(place, target, "others.jsonl") == pytest.approx(least, rel=1e-4)
    assert f"kept the weights of step {step}, the best on the held-out rows" in capsys.readouterr().out


def test_a_stage_that_gets_no_better_ends(place):
    settings = stage(place, patience=2)
    settings["validation"]["data"] = others(place)
    run(place, "patient", {**settings, "max_steps": 100})
    found = [entry["eval_loss"] for entry in log(place, "patient") if "eval_loss" in entry]
    assert len(found) - 1 - found.index(min(found)) == 2
    assert len(found) < 50


@pytest.mark.parametrize("at", [3, 4])
def test_a_stopped_run_ends_as_an_unbroken_one(place, monkeypatch, caplog, at):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    settings = {**stage(place, rate=0.3, scorer="exact_match"), "max_steps": 6}
    run(place, f"whole-{at}", settings)
    with monkeypatch.context() as patch:
        plain = Stopper.on_step_end

        def stop(self, args, state, control, **kwargs):
            self.number = 15 if state.global_step == at else 0
            plain(self, args, state, control, **kwargs)

        patch.setattr(Stopper, "on_step_end", stop)
        with pytest.raises(StoppedError, match=f"stopped at step {at}"):
            run(place, f"broken-{at}", settings)
    run(place, f"broken-{at}", settings)
    assert [record.getMessage() for record in caplog.records if record.name.startswith("transformers")] == []
    figures = [
        [{k: v for k, v in entry.items() if k.startswith(("eval", "loss", "step"))} for entry in log(place, name)[:-1]]
        for name in (f"whole-{at}", f"broken-{at}")
    ]
    assert figures[0] == figures[1]
    assert torch.equal(weights(place / f"whole-{at}" / "s"), weights(place / f"broken-{at}" / "s"))


def test_held_out_rows_that_changed_are_noticed(place, monkeypatch):
    shutil.copy(place / "pairs.jsonl", place / "held.jsonl")
    settings = {**stage(place), "max_steps": 6}
    settings["validation"]["data"] = {"path": str(place / "held.jsonl"), "pairs": PAIRS}
    with monkeypatch.context() as patch:
        patch.setattr(Stopper, "check", lambda self, step: (_ for _ in ()).throw(StoppedError(step, 15)))
        with pytest.raises(StoppedError):
            run(place, "changed", {**settings})
    text = (place / "held.jsonl").read_text()
    (place / "held.jsonl").write_text(text.replace("a red hen", "a red fox"))
    with pytest.raises(KitError, match="the held-out data of its validation has changed since checkpoint-"):
        run(place, "changed", settings)


@pytest.mark.parametrize(
    ("validation", "told"),
    [
        (
            {"data": "v.json", "scorer": "exactmatch"},
            r"validation\.scorer: no scorer is called 'exactmatch'; did",
        ),
        ({"data": "v.json", "scorer": "retrieval"}, "scorer retrieval ranks all rows and takes too long"),
        ({"data": {"path": "v.json", "stream": True}}, "held-out rows are read whole; take stream out"),
        ({"data": "v.json", "every": 3}, r"validation\.every: unknown key; did you mean 'every_steps'"),
        ({}, r"validation\.data: is missing"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, validation, told):
    one = {"name": "s", "data": "a.json", "train": {"llm": "full"}, "validation": validation}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"model": "m", "output": "o", "stages": [one]}))
    with pytest.raises(KitError, match=told):
        Recipe.from_yaml(tmp_path / "r.yaml")


def test_what_is_wrong_with_held_out_rows_is_found_before_training(place):
    (place / "bad.jsonl").write_text('{"image": "gone.png", "caption": "a hen"}\n')
    settings = stage(place)
    settings["validation"]["data"] = {"path": str(place / "bad.jsonl"), "pairs": PAIRS}
    (report,) = check_data(Recipe.from_yaml(write_recipe(place, "checked", settings)))
    assert [(found.kind, "gone.png' does not exist" in found.reason) for found in report.findings] == [("row", True)]
    assert report.rows == 18


def test_a_file_of_held_out_rows_that_is_not_there_is_told_before_anything_is_trained(place):
    settings = stage(place)
    settings["validation"]["data"] = str(place / "nowhere.json")
    with pytest.raises(KitError, match=r"stage 's'.*nowhere\.json"):
        run(place, "nowhere", settings)
    assert not (place / "nowhere").exists()
