"""The example with Ray Serve, as far as it goes without a cluster. Skipped without ray, which is no dependency."""

from __future__ import annotations

import importlib
import importlib.util

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="ray is not installed; pip install 'ray[serve]'"
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
