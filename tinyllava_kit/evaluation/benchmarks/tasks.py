"""The benchmarks by name. Light."""

from __future__ import annotations

from collections.abc import Mapping

from .benchmark import Benchmark
from .gqa import GQA
from .mme import MME
from .mmmu import MMMU
from .mmvet import MMVET
from .pope import POPE
from .scienceqa import SCIENCEQA
from .textvqa import TEXTVQA
from .vqav2 import VQAV2

BENCHMARKS: Mapping[str, Benchmark] = {
    benchmark.name: benchmark for benchmark in (GQA, POPE, SCIENCEQA, TEXTVQA, MMMU, MMVET, MME, VQAV2)
}
