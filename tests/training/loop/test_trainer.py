"""Steps of the Trainer: their losses, the rate of each part, and what is logged of them."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator

from tests import toys
from tests.training.runs import losses_in, run_two_steps, train
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.training.loop.arguments import training_arguments
from tinyllava_kit.training.loop.trainer import KitTrainer
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe
from tinyllava_kit.training.stage_settings import PartTraining
from tinyllava_kit.training.trained_parts import OpenParts

pytestmark = pytest.mark.slow


def test_accumulated_steps_equal_one_large_batch(place):
    large = losses_in(train(place, "large", max_steps=3, batch_size=6))
    small = losses_in(train(place, "small", max_steps=3, batch_size=2, gradient_accumulation=3))
    assert large == pytest.approx(small, abs=1e-4)


def test_each_part_has_its_own_rate_and_vectors_do_not_decay(place):
    model, _ = load_pretrained(place / "model")
    how = {
        "connector.image": PartTraining(mode="full", learning_rate=2e-3, weight_decay=0.1),
        "llm": PartTraining(mode="lora"),
    }
    parts = OpenParts(model, how)
    recipe = Recipe.model_validate(
        {
            "model": "m",
            "output": "o",
            "stages": [{"name": "s", "data": "d", "train": {"llm": "lora"}, "learning_rate": 5e-4}],
        }
    )
    trainer = KitTrainer(
        model=model,
        args=training_arguments(recipe.stages[0], place / "unused", 0, epochs=1),
        training=[(module, how[name]) for name, module in parts.trained.items()],
    )
    groups = trainer.create_optimizer().param_groups
    assert [(g["lr"], g["weight_decay"], {p.ndim for p in g["params"]}) for g in groups] == [
        (2e-3, 0.1, {2}),
        (2e-3, 0.0, {1}),
        (5e-4, 0.0, {2}),
    ]


def test_tensorboard_gets_the_same_figures(tmp_path):
    """In a folder beside the checkpoints, as the Trainer does it."""
    done = run_two_steps(tmp_path, report_to=["tensorboard"])
    (events,) = (done / "checkpoints").rglob("events.out.*")
    read = event_accumulator.EventAccumulator(str(events.parent))
    read.Reload()
    log = [entry for entry in json.loads((done / "log.json").read_text()) if "loss" in entry]
    assert [event.value for event in read.Scalars("train/loss_image")] == pytest.approx([e["loss_image"] for e in log])


def _damaged(folder):
    """Seven rows, four of them with a picture that is cut, which only reading it shows; losses of the others."""
    whole, cut = folder / "0.png", folder / "cut.png"
    Image.effect_noise((40, 40), 90).convert("RGB").save(whole)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    said = ["a", "a longer answer", "no"]
    rows = [
        {
            "id": str(n),
            "image": str(whole if n % 2 else cut),
            "conversations": [{"from": "human", "value": "<image>what?"}, {"from": "gpt", "value": said[n // 2 % 3]}],
        }
        for n in range(7)
    ]
    (folder / "damaged.json").write_text(json.dumps(rows))
    return str(folder / "damaged.json"), rows[1::2]


@pytest.mark.parametrize("how", [{"logging_steps": 7}, {"logging_steps": 1}, {"gradient_accumulation": 2}])
def test_a_skipped_row_counts_in_no_mean(tmp_path, capsys, how):
    """Each sample alone, at a rate that changes nothing: the mean over target tokens, whatever was skipped between."""
    toys.save_picture_model(tmp_path)
    path, good = _damaged(tmp_path)
    stage = {"name": "s", "data": {"path": path, "on_error": "skip"}, "batch_size": 1, "epochs": 1, "warmup_ratio": 0}
    stage |= {"train": {"connector.image": {"mode": "full", "learning_rate": 1e-12}}, "logging_steps": 1, **how}
    recipe = {"model": str(tmp_path / "model"), "output": str(tmp_path / "out"), "stages": [stage]}
    done = run_recipe(Recipe.model_validate({**recipe, "report_to": ["tensorboard"]}))
    model, processor = load_pretrained(tmp_path / "model")
    alone = [model(**processor(row, labels=True)) for row in good]
    whole = torch.cat([each.target_losses for each in alone]).mean().item()
    log = json.loads((done / "log.json").read_text())
    logged = [entry["loss"] for entry in log if "loss" in entry]
    if how == {"logging_steps": 7}:
        assert logged == pytest.approx([whole], rel=1e-3)
    if how == {"logging_steps": 1}:
        assert sorted(logged) == pytest.approx(sorted(each.loss.item() for each in alone), rel=1e-3)
        assert capsys.readouterr().out.count("nothing to learn") == 4
    assert log[-1]["train_loss"] == pytest.approx(whole, rel=1e-3)
    for file in ("log.json", "training.json", "run.html", "README.md"):
        assert "nan" not in (done / file).read_text().lower()
    (events,) = (done / "checkpoints").rglob("events.out.*")
    read = event_accumulator.EventAccumulator(str(events.parent))
    read.Reload()
    assert [event.value for event in read.Scalars("train/loss")] == pytest.approx(logged)
