"""What the doctor says of the machine, and what commands ask for before they work."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

import pytest
import torch

from tinyllava_kit.plugin.child_process import Outcome
from tinyllava_kit.plugin.doctor import Finding
from tinyllava_kit_cli import environment
from tinyllava_kit_cli.environment import EXTRAS

pytestmark = pytest.mark.slow

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the child would say of a machine; a test changes it."""
    facts = {"torch": "2.9", "cuda": "", "built": "without CUDA", "devices": "[]"}
    monkeypatch.setattr(environment, "run_trials", lambda *args, **how: iter([Outcome(facts=facts)]))
    return facts


def test_this_machine_has_a_row_for_each_thing_and_asks_torch_elsewhere() -> None:
    rows = by_name(environment.survey())
    assert rows["python"].version == platform.python_version()
    assert rows["torch"].version == torch.__version__
    assert re.fullmatch(r"\d+ threads; float32, .*; 8 and 4 bit weights.*", rows["cpu"].detail)
    assert [f"[{extra.name}]" for extra in EXTRAS if f"[{extra.name}]" not in rows] == []
    assert (next(iter(rows)) == "python", "transformers" in rows) == (True, True)


@pytest.mark.parametrize(
    ("device", "said"),
    [
        (
            {"name": "cuda:0", "what": "GPU, 24 GiB", "native": True, "dtypes": ["float32", "bfloat16"]},
            "GPU, 24 GiB; float32, bfloat16; 8 and 4 bit weights",
        ),
        (
            {"name": "cpu", "what": "2 threads", "native": False, "dtypes": ["float32", "bfloat16"]},
            "2 threads; float32, bfloat16 (emulated, slow); 8 and 4 bit weights",
        ),
        (
            {"name": "mps", "what": "Apple's GPU", "native": True, "dtypes": ["float32"]},
            "GPU; float32; no 8 or 4 bit weights",
        ),
    ],
    ids=["cuda", "cpu", "mps"],
)
def test_a_device_says_which_dtypes_work(device, said: str) -> None:
    assert said in environment._device(device)


def test_a_torch_that_cannot_be_imported_needs_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "run_trials", lambda *a, **h: iter([Outcome(error="ImportError: libcudart")]))
    broken = by_name(environment.survey())["torch"]
    assert (broken.status, broken.detail) == ("broken", "cannot be imported: ImportError: libcudart")
    assert broken.attention
    assert "pytorch.org" in broken.fix


def test_a_gpu_that_is_not_used_is_told_of(asked: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    assert "cuda" not in by_name(environment.survey())
    monkeypatch.setattr(environment.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert by_name(environment.survey())["cuda"].detail == "nvidia-smi is here, and this torch is built without CUDA"
    asked |= {"cuda": "12.6", "built": "for CUDA 12.6"}
    absent = by_name(environment.survey())["cuda"]
    assert absent.detail == "this torch is built for CUDA 12.6 and finds no GPU"
    assert not absent.attention
    asked["devices"] = '[{"name": "cuda:0", "what": "GPU", "native": true, "dtypes": []}]'
    assert "cuda" not in by_name(environment.survey())


def test_an_extra_that_is_absent_says_what_it_is_for_and_how_it_comes(
    asked: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jiwer", None)
    absent = by_name(environment.survey())["[evaluate]"]
    assert (absent.status, absent.attention) == ("absent", False)
    assert absent.detail == "word and character error rates: --scorer wer, cer: no jiwer"
    assert absent.fix == "pip install 'tinyllava-kit[evaluate]'"


def test_an_extra_of_another_version_needs_attention(asked: dict[str, str], site) -> None:
    needs = ["nowhere>=9; extra == 'audio'", "jiwer>=4; extra == 'evaluate'", "torch>=2"]
    site.distribution("tinyllava-kit", requires=needs)
    site.distribution("jiwer", version="3.0")
    rows = by_name(environment.survey())
    assert rows["[evaluate]"].status == "unmet"
    assert rows["[evaluate]"].detail.endswith("requires jiwer>=4, 3.0 is installed")
    assert rows["[show]"].status == "ok"


def test_a_probe_finds_an_extra_that_cannot_be_imported(site) -> None:
    site.module("fake_extra", "raise OSError('no libsndfile')\n")
    assert environment.try_extra("fake_extra", "audio", "").error == "OSError: no libsndfile"
    assert environment.try_extra("jiwer", "evaluate", "") == Outcome()


def test_the_extras_are_those_of_the_project() -> None:
    declared = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    tools = {"docs", "dev", "demo"}
    assert {extra.name for extra in EXTRAS} == declared.keys() - tools
    for extra in EXTRAS:
        packages = {re.split(r"[<>=~! ]", each)[0].replace("-", "_") for each in declared[extra.name]}
        assert packages <= {*extra.modules}
