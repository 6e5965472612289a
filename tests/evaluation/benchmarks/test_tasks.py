"""Benchmarks by name."""

from __future__ import annotations

import pytest

from tests.fakes import offering
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.benchmarks.tasks import benchmark_names, find_benchmark, is_benchmark


def test_a_task_is_named_alone_or_with_its_distribution():
    for word in ("pope", "tinyllava-kit/pope"):
        assert is_benchmark(word)
        assert find_benchmark(word).name == "pope"
    assert not any(map(is_benchmark, ("pope.json", "other/pope")))


def test_an_unknown_task_gives_the_near_ones():
    with pytest.raises(KitError, match="no benchmark is called 'pop'; did you mean 'pope'"):
        find_benchmark("pop")


def test_a_task_of_a_plugin_has_the_name_of_its_spec_and_what_is_none_is_refused(site):
    module = "from tinyllava_kit.evaluation import Benchmark\nOWN = Benchmark(name='other', read=list)\nNONE = 3\n"
    site.module("quiz", module)
    specs = "BenchmarkSpec(name='quiz', target='quiz:OWN')", "BenchmarkSpec(name='wrong', target='quiz:NONE')"
    site.plugin("quiz", offering("tinyllava_benchmarks", *specs))
    assert benchmark_names() == ["quiz", "wrong"]
    assert find_benchmark("quiz").name == "quiz"
    with pytest.raises(KitError, match=r"benchmark 'wrong': quiz:NONE must be an evaluation\.Benchmark"):
        find_benchmark("wrong")
