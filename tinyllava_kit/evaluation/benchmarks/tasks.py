"""The benchmarks by name: those that the installed plugins offer. Light."""

from __future__ import annotations

from dataclasses import replace

from ...errors import KitError
from ...plugin.discovery import installed_catalog
from ...plugin.specs import BenchmarkSpec, load
from .benchmark import Benchmark


def find_benchmark(name: str) -> Benchmark:
    """Find an installed benchmark by its name.

    Raises:
        KitError: nobody offers it, with the near ones; or it is no benchmark.
    """
    spec = installed_catalog().find(BenchmarkSpec.kind, name).spec
    found = load(spec)
    if not isinstance(found, Benchmark):
        raise KitError(f"benchmark {spec.name!r}: {spec.target} must be an evaluation.Benchmark")
    return found if found.name == spec.name else replace(found, name=spec.name)


def is_benchmark(word: str) -> bool:
    """Whether a word names one, alone or with its distribution."""
    return any(word in (offer.spec.name, offer.qualified) for offer in installed_catalog().of_kind(BenchmarkSpec.kind))


def benchmark_names() -> list[str]:
    """Those of the installed benchmarks."""
    return installed_catalog().names(BenchmarkSpec.kind)
