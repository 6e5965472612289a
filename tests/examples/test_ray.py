"""The examples with Ray: Serve as far as it goes without a cluster, Data for real. Skipped without ray, which is no
dependency."""

from __future__ import annotations

import importlib
import importlib.util

import pytest

from tests import toys
from tests.training.runs import write_recipe
from tinyllava_kit import KitError, Recipe, run_recipe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="ray is not installed; pip install 'ray[data,serve]'"
    ),
    pytest.mark.filterwarnings("default"),  # Ray's own
]


@pytest.fixture
def replicas():
    return importlib.import_module("examples.serve.ray").replicas


def test_settings_are_those_of_the_deployment(replicas):
    given = {"model": "my-model", "replicas": "3", "cpus": "0.5", "max_requests": "7"}
    deployment = replicas(given)._bound_deployment
    assert (deployment.name, deployment.num_replicas, deployment.max_ongoing_requests) == ("tinyllava", 3, 7)
    assert deployment.ray_actor_options == {"num_cpus": 0.5, "num_gpus": 0.0}


def test_an_unknown_setting_is_named(replicas):
    with pytest.raises(ValueError, match=r"replica\n.*Extra inputs"):
        replicas({"model": "my-model", "replica": "2"})


@pytest.fixture
def by_ray():
    yield importlib.import_module("examples.features.by_ray").main
    importlib.import_module("ray").shutdown()


def test_training_finds_all_features_that_two_workers_encoded(by_ray, tmp_path, capsys):
    model, rows = toys.save_picture_model(tmp_path), toys.picture_rows(tmp_path, 9)
    folder = tmp_path / "run" / "features.cache"
    words = [str(model), str(rows), str(folder), "--cpus", "0.5"]
    by_ray(words)
    assert "encoded 4 of 4 items" in capsys.readouterr().out
    assert len(list(folder.glob("*.safetensors"))) == 2  # one of each block
    by_ray(words)
    assert "encoded 0 of 4 items" in capsys.readouterr().out
    train = {"connector.image": "full"}
    stage = {"data": str(rows), "train": train, "cache_features": True, "max_steps": 1, "batch_size": 2}
    run_recipe(Recipe.from_yaml(write_recipe(tmp_path, "run", stage)))
    assert "encoded 0 items with the frozen towers" in capsys.readouterr().out


def test_a_model_that_is_none_is_told_before_ray_starts(by_ray, tmp_path):
    with pytest.raises(KitError, match="none"):
        by_ray([str(tmp_path / "none"), str(tmp_path / "rows.json"), str(tmp_path / "kept")])
    assert not importlib.import_module("ray").is_initialized()
