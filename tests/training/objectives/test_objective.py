"""Objectives of plugins: a recipe's key, its options, and what the Trainer gets."""

from __future__ import annotations

import pytest
import torch

from tests import toys
from tests.fakes import FakeSite, offering
from tinyllava_kit import ConversationDataset, KitError, discover
from tinyllava_kit.core.conversation import from_row
from tinyllava_kit.training.objectives.objective import lesson_of
from tinyllava_kit.training.recipe import Recipe

QUIET = """
from tinyllava_kit.training import Lesson, Objective

class Quiet(Objective):
    def __init__(self, *, share):
        self.share = share

    def prepare(self, dataset, model, collate, trained):
        return Lesson(dataset, collate, lambda model, batch, count: self.share * model(**batch).loss)
"""
SPEC = (
    "ObjectiveSpec(name='quiet', target='quiet:Quiet', trains=('connector',), runs_llm=%s,"
    " options=(Option(name='share', type=float, default=0.5, above=0),))"
)


@pytest.fixture(autouse=True)
def _quiet(tmp_path, monkeypatch):
    site = FakeSite(tmp_path / "site", monkeypatch)
    site.module("quiet", QUIET)
    site.plugin("quiet", offering("tinyllava_objectives", SPEC % "False"))


def recipe(**stage) -> Recipe:
    wanted = {"name": "s", "data": "rows.json", "train": {"connector.image": "full"}, **stage}
    return Recipe.model_validate({"model": "m", "output": "o", "stages": [wanted]})


def test_a_key_of_a_stage_may_be_the_name_of_an_installed_objective():
    (stage,) = recipe(quiet={"share": 2}).stages
    assert stage.chosen == {"quiet": {"share": 2.0}}
    assert (stage.objective.name, stage.objective.runs_llm) == ("quiet", False)
    assert recipe(quiet={}).stages == recipe(objectives={"quiet": {}}).stages
    assert recipe(quiet={}).stages == recipe(quiet={}, objectives=None).stages
    assert recipe(quiet=None).stages[0].objective is None


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"quiet": {"share": 0}}, "quiet: option 'share' must be more than 0, got 0"),
        ({"quiet": {"shares": 1}}, "quiet: objective 'quiet' has no option 'shares'; did you mean 'share'"),
        ({"quiet": {}, "distill": {"weight": 1}}, "stage s: has distill and quiet; make two stages of them"),
        ({"quiet": {}, "train": {"llm": "full"}}, "stage s: quiet trains connectors; take llm out of train"),
        ({"quiet": {}, "packing": True}, "stage s: packing and quiet do not go together"),
        ({"quiet": {}, "items": "text", "train": {"connector.image": "full"}}, "items: text trains the LLM alone"),
        ({"objectives": {"loud": {}}}, "no objective is called 'loud'"),
    ],
)
def test_what_does_not_fit_is_refused_when_the_recipe_is_read(stage, message):
    with pytest.raises(ValueError, match=message):
        recipe(**stage)


def test_an_unknown_key_is_told_of_near_objectives(tmp_path):
    (tmp_path / "r.yaml").write_text(
        "{model: m, output: o, stages: [{name: s, data: d, train: {llm: full}, quite: {}}]}"
    )
    with pytest.raises(KitError, match="unknown key; did you mean 'quiet'"):
        Recipe.from_yaml(tmp_path / "r.yaml")


@pytest.mark.parametrize("is_qualified", [False, True], ids=["its name", "its distribution, too"])
def test_the_loss_of_a_plugin_is_what_a_stage_learns(tmp_path, is_qualified):
    offer = discover().find("objective", "quiet")
    name = offer.qualified if is_qualified else offer.spec.name
    model, processor = toys.picture_model(tmp_path / "llm")
    row = {"id": "a", "conversations": [{"from": "human", "value": "a?"}, {"from": "gpt", "value": "b"}]}
    dataset = ConversationDataset([from_row(row, processor.specs)], processor)
    samples, collate, loss = lesson_of(recipe(objectives={name: {"share": 0.25}}).stages[0], dataset, model)
    batch = collate([samples[0]])
    torch.testing.assert_close(loss(model, batch, None), 0.25 * model(**batch).loss)
