"""TRL's trainers on a model and a processor of this kit, as on any other. Skipped without trl, which is no dependency.

The calls of its collators are tested with the prompts in ``tests/core``, those of its loss with the backbone.
"""

from __future__ import annotations

import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from tests import toys

trl = pytest.importorskip("trl", reason="trl is not installed; pip install trl")
datasets = pytest.importorskip("datasets")


pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:`(is_)?gradient_checkpointing(_enable|_disable)?` is deprecated:FutureWarning"
    ),  # trl
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
ASKED = ["what?", "and what is it, then?", "a", "is it?"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trl")
    toys.save_picture_model(folder)
    toys.save_pictures(folder, 4)
    return folder


def opened(folder):
    path = folder / "model"
    return AutoModelForImageTextToText.from_pretrained(path), AutoProcessor.from_pretrained(path)


def rows(folder, columns, pictures):
    if not pictures:
        return datasets.Dataset.from_dict(columns)
    files = [[str(folder / f"{number}.png")] for number in range(3)]
    given = datasets.Dataset.from_dict({**columns, "images": [*files, []]})
    return given.cast_column("images", datasets.List(datasets.Image()))


def says(role, content):
    return [{"role": role, "content": content}]


def learned(trainer):
    """The losses of a trainer's steps."""
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def arguments(tmp_path, **options):
    common = {"learning_rate": 1e-2, "logging_steps": 1, "per_device_train_batch_size": 2, "max_steps": 20, "seed": 0}
    quiet = {
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "output_dir": str(tmp_path / "out"),
    }
    return {**common, **quiet, **options}


MESSAGES = {"messages": [says("user", q) + says("assistant", "it is a toy") for q in ASKED]}
COMPLETIONS = {
    "prompt": [says("user", q) for q in ASKED],
    "completion": [says("assistant", "it is a toy")] * 4,
}


@pytest.mark.parametrize(
    ("columns", "options"),
    [
        (MESSAGES, {}),
        (COMPLETIONS, {}),
        (COMPLETIONS, {"completion_only_loss": False}),
        (MESSAGES, {"assistant_only_loss": True}),
    ],
    ids=["messages", "completions", "all of them", "answers alone"],
)
@pytest.mark.parametrize("pictures", [True, False], ids=["pictures", "text"])
def test_supervised_training_learns(folder, tmp_path, columns, options, pictures):
    model, processor = opened(folder)
    settings = trl.SFTConfig(**arguments(tmp_path, **options))
    data = rows(folder, columns, pictures)
    trainer = trl.SFTTrainer(model=model, args=settings, train_dataset=data, processing_class=processor)
    losses = learned(trainer)
    assert losses[-1] < losses[0] / 2


def test_what_was_trained_is_saved_and_loads(folder, tmp_path):
    model, processor = opened(folder)
    settings = trl.SFTConfig(**arguments(tmp_path, max_steps=1))
    data = rows(folder, MESSAGES, True)
    trainer = trl.SFTTrainer(model=model, args=settings, train_dataset=data, processing_class=processor)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    AutoProcessor.from_pretrained(tmp_path / "saved")
    again = AutoModelForImageTextToText.from_pretrained(tmp_path / "saved")
    assert all(mine.equal(theirs) for mine, theirs in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("pictures", [True, False], ids=["pictures", "text"])
def test_preferences_are_learned_without_a_reference_model(folder, tmp_path, pictures):
    model, processor = opened(folder)
    columns = {
        "prompt": [says("user", q) for q in ASKED],
        "chosen": [says("assistant", "yes, it is a toy")] * 4,
        "rejected": [says("assistant", "no")] * 4,
    }
    settings = trl.DPOConfig(**arguments(tmp_path, max_steps=8))
    data = rows(folder, columns, pictures)
    losses = learned(trl.DPOTrainer(model=model, args=settings, train_dataset=data, processing_class=processor))
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)  # of two models that are the same: log 2
    assert losses[-1] < 0.1


@pytest.mark.parametrize("pictures", ["all", "some", "none"])
def test_rewards_are_learned_from(folder, tmp_path, pictures):
    model, processor = opened(folder)
    asked = {"prompt": [says("user", q) for q in ASKED[: 3 if pictures == "all" else 4]]}
    data = rows(folder, asked, pictures != "none") if pictures != "all" else with_a_picture_each(folder, asked)
    settings = trl.GRPOConfig(
        **arguments(tmp_path, max_steps=6, per_device_train_batch_size=4, learning_rate=3e-2),
        num_generations=4,
        max_completion_length=6,
        beta=0.0,
        gradient_checkpointing=False,
    )
    before = [p.detach().clone() for p in model.language_model.parameters()]
    trainer = trl.GRPOTrainer(
        model=model, reward_funcs=few_kinds, args=settings, train_dataset=data, processing_class=processor
    )
    trainer.train()
    rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    assert len(rewards) == 6
    assert rewards[-1] > rewards[0]
    assert any(not mine.equal(theirs) for mine, theirs in zip(before, model.language_model.parameters(), strict=True))


def few_kinds(completions, **kwargs):
    """The fewer different characters, the better."""
    return [-float(len(set(completion[0]["content"]))) for completion in completions]


def with_a_picture_each(folder, columns):
    data = datasets.Dataset.from_dict({**columns, "image": [str(folder / f"{number}.png") for number in range(3)]})
    return data.cast_column("image", datasets.Image())
