"""Features that a stage keeps: the same losses, shared by stages and runs, and kept where that takes less time."""

from __future__ import annotations

import re

import pytest

from tests.training.runs import Killed, losses_in, train, write_dropout_recipe
from tinyllava_kit import KitError
from tinyllava_kit.training.loop import trainer
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = pytest.mark.slow


def test_cached_features_give_the_losses_of_the_tower_itself(place):
    plain = losses_in(train(place, "plain", max_steps=4))
    cached = losses_in(train(place, "cached", max_steps=4, cache_features=True))
    assert plain == pytest.approx(cached, abs=1e-4)


def test_stages_share_the_features_of_a_tower_until_it_is_trained(place, capsys):
    stage = {
        "data": str(place / "rows.json"),
        "train": {"connector.image": "full"},
        "max_steps": 1,
        "batch_size": 2,
        "warmup_ratio": 0,
        "cache_features": True,
    }
    tuned = {**stage, "train": {"tower.image": "full"}, "cache_features": False, "epochs": 1, "max_steps": -1}
    stages = [{"name": "a", **stage}, {"name": "b", **stage}, {"name": "c", **tuned}, {"name": "d", **stage}]
    recipe = {"model": str(place / "model"), "output": str(place / "shared"), "stages": stages}
    run_recipe(Recipe.model_validate(recipe))
    assert re.findall(r"encoded (\d+) items", capsys.readouterr().out) == ["3", "0", "3"]


def test_a_second_run_finds_the_features_of_the_first_in_the_folder_that_the_stage_names(place, capsys):
    how = {"mode": True, "dir": str(place / "kept"), "max_gb": 1}
    first = losses_in(train(place, "first", max_steps=3, cache_features=how))
    second = losses_in(train(place, "second", max_steps=3, cache_features=how))
    assert re.findall(r"encoded (\d+) items", capsys.readouterr().out) == ["3", "0"]
    assert first == second
    assert not (place / "first" / "features.cache").exists()


def test_auto_keeps_features_where_they_win_and_says_both_figures(place, capsys, monkeypatch):
    from tinyllava_kit.training import feature_caching as caching

    figures = iter([5.0, 5.0, 0.1, 0.1] * 3)  # the tower twice, reading twice
    monkeypatch.setattr(caching, "_seconds", lambda work: (work(), next(figures))[1])
    train(place, "won", epochs=3, cache_features="auto")
    out = capsys.readouterr().out
    assert "an item takes 1.7 s through its tower, 0.033 s from the cache; 3 items used 18 times: 30 s without, " in out
    assert "6 s with: kept\nencoded 0 items" in out
    train(place, "lost", epochs=1, max_steps=1, batch_size=1, cache_features="auto")
    assert "with: not kept" in capsys.readouterr().out
    monkeypatch.setattr(caching, "TRIED", 1)
    train(place, "roomy", epochs=3, cache_features={"mode": "auto", "max_gb": 1.2e-6})
    assert "GB: not kept" in capsys.readouterr().out


def test_features_that_have_no_room_are_refused(place):
    with pytest.raises(
        KitError, match=r"features take more than max_gb 1e-06 in '.*/no-room/features\.cache'; raise it"
    ):
        train(place, "no-room", cache_features={"max_gb": 1e-6})


def test_a_trained_tower_cannot_be_cached(place):
    with pytest.raises(KitError, match=r"cache_features: tower\.image is trained"):
        train(place, "both", train={"tower.image": "full"}, cache_features=True)


def test_what_auto_found_stays_when_a_run_goes_on(place, monkeypatch):
    """Features of the cache and of the tower differ in their last bits: the clock must not choose anew."""
    from tinyllava_kit.training import feature_caching as caching

    path = write_dropout_recipe(place, "auto", max_steps=4, save_steps=2, cache_features="auto")
    answers = iter([True, False])
    monkeypatch.setattr(caching, "_wins", lambda *_: next(answers))
    with monkeypatch.context() as patch:
        patch.setattr(trainer.KitTrainer, "_clip_grad_norm", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run_recipe(Recipe.from_yaml(path))
    readers = []
    keep = caching.FeatureCache.fill
    monkeypatch.setattr(caching.FeatureCache, "fill", lambda self, items: readers.append(self) or keep(self, items))
    run_recipe(Recipe.from_yaml(path))
    assert readers
    assert next(answers) is False  # it was not asked again
