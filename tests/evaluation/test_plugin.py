"""The scorers and benchmarks that the kit ships: every one is what its spec says, and none is left out."""

from __future__ import annotations

import inspect

import pytest

from tinyllava_kit.evaluation import scorers
from tinyllava_kit.evaluation.benchmarks.tasks import find_benchmark
from tinyllava_kit.evaluation.plugin import tinyllava_benchmarks, tinyllava_scorers
from tinyllava_kit.evaluation.scorer import Scorer, find_scorer


def test_every_scorer_of_the_kit_is_offered_once():
    specs = tinyllava_scorers()
    here = {kind for _, kind in inspect.getmembers(scorers, inspect.isclass) if kind.__module__ == scorers.__name__}
    found = [type(find_scorer(spec.name)) for spec in specs]
    assert len(set(found)) == len(found) == len({spec.name for spec in specs})
    assert here <= set(found)
    assert all(issubclass(kind, Scorer) for kind in found)


def test_scorers_that_are_error_rates_name_the_package_that_they_need():
    rates = {spec.name for spec in tinyllava_scorers() if find_scorer(spec.name).lower_is_better}
    assert rates == {spec.name for spec in tinyllava_scorers() if spec.packages} == {"wer", "cer"}


@pytest.mark.parametrize("spec", tinyllava_benchmarks(), ids=lambda spec: spec.name)
def test_a_benchmark_has_the_name_of_its_spec_and_scorers_that_are_there(spec):
    found = find_benchmark(spec.name)
    assert found.name == spec.name
    assert {find_scorer(name).name for name in found.scorers} == set(found.scorers)
