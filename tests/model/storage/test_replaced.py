"""What stays of a directory when a model, or other weights, take the place of those in it."""

from __future__ import annotations

import shutil

import pytest
import torch

from tests import toys
from tinyllava_kit import TinyLlavaProcessor
from tinyllava_kit.checkpoints.card import write_card
from tinyllava_kit.model.storage.replaced import save_together

RECORDS = ("stage.json", "training.json", "evaluations.json", "log.json", "run.html", "skipped.jsonl")
OLD_MODEL = ("added_tokens.json", "tokenizer.model", "model-00002-of-00002.safetensors", "chat_template.json")
NOBODYS = ("notes.txt", "rows.json", "images/0.png")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    model, processor = toys.picture_model(folder / "llm")
    save_together(folder / "model", model, processor)
    return folder / "model", model, processor


@pytest.fixture
def place(made, tmp_path):
    """A directory of a trained stage, as far as its files go, and what a user has put there."""
    place = shutil.copytree(made[0], tmp_path / "stage")
    write_card(place)
    for name in (
        *RECORDS,
        *NOBODYS,
        "checkpoints/checkpoint-2/trained.safetensors",
        "adapters/llm/adapter_config.json",
    ):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("{}")
    return place


def names(folder):
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_of_a_model_that_is_replaced_nothing_stays(made, place, tmp_path):
    for name in OLD_MODEL:
        (place / name).write_text("{}")
    save_together(place, *made[1:])
    save_together(tmp_path / "new", *made[1:])
    assert names(place) == {*names(tmp_path / "new"), *NOBODYS}
    TinyLlavaProcessor.from_pretrained(place)


def test_a_users_own_card_stays(made, place):
    (place / "README.md").write_text("mine")
    save_together(place, *made[1:])
    assert (place / "README.md").read_text() == "mine"


def test_other_weights_take_their_history_with_them_and_leave_the_tokenizer(made, place):
    before = names(place)
    with torch.no_grad():
        next(iter(made[1].parameters())).add_(1.0)
    made[1].save_pretrained(place)
    gone = {*RECORDS, "README.md", "checkpoints/checkpoint-2/trained.safetensors", "adapters/llm/adapter_config.json"}
    assert names(place) == before - gone
    assert {"tokenizer_config.json", "processor_config.json", "chat_template.jinja"} <= names(place)


def test_the_same_weights_keep_all_and_so_does_a_processor(made, place):
    save_together(place, *made[1:])
    for name in RECORDS:
        (place / name).write_text("{}")
    before = names(place)
    made[1].generation_config.repetition_penalty = 1.5
    made[1].save_pretrained(place)
    made[2].save_pretrained(place)
    assert names(place) == before >= set(RECORDS)


def test_what_a_stage_has_so_far_stays_where_no_weights_are_yet(made, tmp_path):
    for name in ("checkpoints/stage.json", "skipped.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    made[1].save_pretrained(tmp_path)
    assert {"checkpoints/stage.json", "skipped.jsonl", "config.json"} <= names(tmp_path)
