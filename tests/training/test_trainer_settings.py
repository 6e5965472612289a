"""What a stage tells the Trainer beyond the kit's own keys: optimizers by name, warm-up, noise, other arguments."""

from __future__ import annotations

import json

import pytest
import torch

from tests import toys
from tests.training.runs import losses, weights, write_recipe
from tinyllava_kit import KitError
from tinyllava_kit.training import preparation, run
from tinyllava_kit.training.loop.trainer import KitTrainer
from tinyllava_kit.training.recipe import Recipe

pytestmark = pytest.mark.slow

STAGE = {"data": "rows.json", "train": {"connector.image": "full"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("settings")
    toys.save_picture_model(folder)
    toys.picture_rows(folder, 4)
    return folder


@pytest.fixture
def trainers(monkeypatch):
    """Those that are made."""
    made = []
    make = KitTrainer.__init__
    monkeypatch.setattr(KitTrainer, "__init__", lambda self, **kwargs: (made.append(self), make(self, **kwargs))[1])
    return made


def train(place, name, **stage):
    stage = {"train": {"connector.image": "full"}, "batch_size": 2, "max_steps": 2, "logging_steps": 1, **stage}
    path = write_recipe(place, name, {"data": str(place / "rows.json"), **stage})
    return run.run_recipe(Recipe.from_yaml(path))


WRONG = {
    "unknown optimizer": (
        {"optimizer": "adafactr"},
        r"stages\.0\.optimizer: transformers has no optimizer 'adafactr'; did you mean 'adafactor'",
    ),
    "optimizer of its own weights": (
        {"optimizer": "galore_adamw"},
        r"optimizer galore_adamw changes weights of its own",
    ),
    "two warm-ups": (
        {"warmup_steps": 3, "warmup_ratio": 0.1},
        "has warmup_steps and warmup_ratio; take one of them out",
    ),
    "noise": ({"neftune_alpha": 0}, r"stages\.0\.neftune_alpha: Input should be greater than 0, got 0"),
    "near": (
        {"trainer": {"adam_bta2": 0.9}},
        r"stages\.0\.trainer: adam_bta2: the Trainer has no such argument; did you mean 'adam_beta2'",
    ),
    "of the stage": (
        {"trainer": {"per_device_train_batch_size": 3}},
        "per_device_train_batch_size: the stage says it; write batch_size of the stage",
    ),
    "of the recipe": ({"trainer": {"seed": 3}}, "seed: the recipe says it; write seed there; leave it out"),
    "of the kit": (
        {"trainer": {"save_total_limit": 3}},
        "save_total_limit: the kit keeps what a run resumes from; leave",
    ),
    "by its beginning": ({"trainer": {"hub_token": "x"}}, "hub_token: a stage leaves a directory"),
    "type": ({"trainer": {"adam_beta1": "much"}}, "adam_beta1: Input should be a valid number.*, got 'much'"),
    "no mapping": ({"trainer": [1]}, r"stages\.0\.trainer: Input should be a valid dictionary"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_what_the_trainer_does_not_take_is_one_line(mistake, tmp_path):
    change, message = WRONG[mistake]
    path = write_recipe(tmp_path, "wrong", {**STAGE, **change})
    with pytest.raises(KitError, match=message) as told:
        Recipe.from_yaml(path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "adamw_anyprecision"}, r"stage 's': optimizer adamw_anyprecision: .*torchdistx"),
        (
            {"trainer": {"dataloader_prefetch_factor": 2}},
            r"stage 's': the Trainer refuses the stage's settings: .*prefetch",
        ),
    ],
)
def test_what_the_trainer_refuses_is_found_before_anything_is_loaded(place, monkeypatch, change, message):
    monkeypatch.setattr(preparation, "load_pretrained", None)
    with pytest.raises(KitError, match=message):
        train(place, "refused", **change)
    assert not (place / "refused").exists()


def test_an_optimizer_steps_each_part_at_its_rate(place, trainers):
    parts = {"connector.image": {"mode": "full", "learning_rate": 0.5}, "llm": "full"}
    done = train(place, "sgd", optimizer="sgd", train=parts, learning_rate=0.25, schedule="constant_with_warmup")
    optimizer = trainers[0].optimizer
    assert type(getattr(optimizer, "optimizer", optimizer)) is torch.optim.SGD
    assert sorted({group["initial_lr"] for group in optimizer.param_groups}) == [0.25, 0.5]
    assert "- sgd, learning rate 0.5 (connector.image), 0.25 (llm), " in (done / "README.md").read_text()


def test_another_argument_reaches_the_trainer(place, trainers):
    done = train(place, "others", trainer={"adam_beta1": 0.5, "lr_scheduler_kwargs": {"num_cycles": 1.5}})
    assert {group["betas"][0] for group in trainers[0].optimizer.param_groups} == {0.5}
    assert trainers[0].args.lr_scheduler_kwargs == {"num_cycles": 1.5}
    assert json.loads((done / "training.json").read_text())[-1]["recipe"]["trainer"]["adam_beta1"] == 0.5


@pytest.mark.parametrize("way", [{}, {"group_by_size": True}])
def test_processes_that_read_are_as_the_trainer_is_told(place, trainers, way):
    train(place, f"readers {way}", workers=1, trainer={"dataloader_prefetch_factor": 3}, max_steps=1, **way)
    assert trainers[0].get_train_dataloader().prefetch_factor == 3


def test_warm_up_in_steps(place):
    done = train(place, "warm", warmup_steps=2, max_steps=4, schedule="constant_with_warmup", learning_rate=0.25)
    assert losses(place, "warm", "learning_rate") == [0, 0.125, 0.25, 0.25]
    assert "warm-up 2 steps" in (done / "README.md").read_text()


def test_noise_on_text_is_of_training_alone(place):
    held_out = {"validation": {"data": str(place / "rows.json"), "every_steps": 1}}
    for name, more in (("plain", {}), ("noisy", {"neftune_alpha": 50})):
        train(place, name, max_steps=1, warmup_steps=1, **held_out, **more)  # the first step is at a rate of 0
    assert losses(place, "plain") != pytest.approx(losses(place, "noisy"), rel=1e-4)
    assert losses(place, "plain", "eval_loss") == losses(place, "noisy", "eval_loss")


def test_a_compiled_model_learns_the_same(place, trainers):
    train(place, "as it is")
    train(place, "compiled", torch_compile=True, trainer={"torch_compile_backend": "eager"})
    assert trainers[1].args.torch_compile
    assert losses(place, "compiled") == pytest.approx(losses(place, "as it is"), rel=1e-5)
    as_it_is, compiled = (weights(place / name / "s") for name in ("as it is", "compiled"))
    torch.testing.assert_close(compiled, as_it_is)


def test_a_stage_of_a_version_that_did_not_know_a_key_is_complete(place):
    settings = {"warmup_steps", "optimizer", "trainer", "torch_compile", "neftune_alpha"}
    file = train(place, "older") / "stage.json"
    older = {key: value for key, value in json.loads(file.read_text()).items() if key not in settings}
    file.write_text(json.dumps(older))
    train(place, "older")
    with pytest.raises(KitError, match="was trained with optimizer None, the recipe has 'sgd'"):
        train(place, "older", optimizer="sgd")
