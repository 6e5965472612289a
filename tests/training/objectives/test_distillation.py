"""Distillation: the divergence, the teacher's view of a conversation, and that a connector learns from it."""

from __future__ import annotations

import json

import pytest
import torch
import yaml

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.data.dataset import Collator, ConversationDataset
from tinyllava_kit.data.sources import Pairs, Source
from tinyllava_kit.training.objectives.distillation import (
    DistillationCollator,
    DistillationDataset,
    distillation_loss,
    soft_divergence,
)
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe
from tinyllava_kit.training.stage_settings import Distill

pytestmark = pytest.mark.slow

CAPTIONS = ("a red hen", "two blue pigs", "old grey mice and cats")
PAIRS = {"modality": "image", "text": "caption", "prompts": ["Repeat <image> now.", "Again?"]}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return toys.captioned_model(tmp_path_factory.mktemp("distillation"), CAPTIONS)


@pytest.fixture(scope="module")
def taught(place):
    model, processor = load_pretrained(place / "model")
    source = Source(path=str(place / "pairs.jsonl"), pairs=Pairs(**PAIRS))
    return (
        model,
        DistillationDataset(ConversationDataset.from_sources([source], processor)),
        DistillationCollator(Collator(processor)),
    )


def test_the_divergence_is_that_of_the_definition():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 5, 7).double()
    p, q = (teacher / 3).softmax(-1), (student / 3).softmax(-1)
    expected = sum(p[i, v] * (p[i, v] / q[i, v]).log() for i in range(5) for v in range(7)) * 9
    assert soft_divergence(student, teacher, 3.0).item() == pytest.approx(expected.item(), rel=1e-5)
    assert soft_divergence(teacher, teacher, 3.0).item() == pytest.approx(0, abs=1e-5)


def test_the_teacher_reads_the_words_where_the_item_stands(taught):
    _, dataset, collate = taught
    batch = collate([dataset[0], dataset[1]])
    tokenizer = dataset.dataset.processor.tokenizer
    first, second = (tokenizer.decode(row, skip_special_tokens=True) for row in batch["teacher"]["input_ids"])
    assert "Repeat" in first
    assert first.index("a red hen") < first.index("now.") < first.rindex("a red hen")
    assert second.index("two blue pigs") < second.index("Again?") < second.rindex("two blue pigs")
    assert "items" not in batch["teacher"]
    for one in (batch, batch["teacher"]):
        ids = one["labels"].flatten()[one["plan"].target_positions + 1]
        assert ids.tolist() == batch["labels"].flatten()[batch["plan"].target_positions + 1].tolist()


def test_the_loss_compares_position_by_position(taught):
    """Against two forward passes over all positions."""
    model, dataset, collate = taught
    samples = [dataset[0], dataset[1], dataset[2]]
    batch, how = collate(samples), Distill(temperature=1.5, weight=0.7)
    read = dict(batch["teacher"])
    heard = {key: value for key, value in batch.items() if key != "teacher"}
    with torch.no_grad():
        mine, theirs = model(**heard, logits_to_keep=0), model(**read, logits_to_keep=0)
        loss = distillation_loss(model, dict(batch), None, how=how)
    rows = [one.logits.flatten(0, 1)[b["plan"].target_positions] for one, b in ((mine, heard), (theirs, read))]
    divergence = soft_divergence(*rows, 1.5) / len(rows[0])
    assert loss.item() == pytest.approx((0.7 * divergence + 0.3 * mine.loss).item(), rel=1e-4)


def test_a_connector_learns_to_say_the_words(place):
    stage = {
        "name": "s",
        "data": {"path": str(place / "pairs.jsonl"), "pairs": PAIRS, "repeat": 2},
        "train": {"connector.image": "full"},
        "distill": {"temperature": 1.0},
        "batch_size": 3,
        "batch_budget": {"image": 3},
        "epochs": 25,
        "learning_rate": 1e-2,
        "logging_steps": 1,
    }
    recipe = {"model": str(place / "model"), "output": str(place / "out"), "stages": [stage]}
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    target = run_recipe(Recipe.from_yaml(place / "recipe.yaml"))
    losses = [entry["loss"] for entry in json.loads((target / "log.json").read_text()) if "loss" in entry]
    assert len(losses) == 50  # 6 samples, 3 to a batch
    assert sum(losses[-6:]) < 0.7 * sum(losses[:6])


def test_an_item_without_words_is_refused(place):
    _, processor = load_pretrained(place / "model")
    rows = [{"id": "r", "image": "0.png", "conversations": [{"from": "human", "value": "<image>"}]}]
    with pytest.raises(KitError, match=r"row\[0\] 'r': no item has a text to distill from"):
        DistillationDataset(ConversationDataset(rows, processor))


def test_an_item_without_words_stays_for_the_teacher(place):
    _, processor = load_pretrained(place / "model")
    parts = [
        {"type": "image", "image": str(place / "0.png"), "text": "a red hen"},
        {"type": "image", "image": str(place / "1.png")},
    ]
    rows = [{"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "yes"}]}]
    heard, read = DistillationDataset(ConversationDataset(rows, processor))[0]
    assert (len(heard.items), len(read.items)) == (2, 1)
    assert torch.equal(read.items[0].rows[0]["pixel_values"], heard.items[1].rows[0]["pixel_values"])


def test_a_teacher_that_is_trained_is_refused(tmp_path):
    stage = {"name": "s", "data": "a.json", "train": {"llm": "lora"}, "distill": {}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"model": "m", "output": "o", "stages": [stage]}))
    with pytest.raises(KitError, match="stage s: distill trains towers and connectors; take llm out of train"):
        Recipe.from_yaml(tmp_path / "r.yaml")
