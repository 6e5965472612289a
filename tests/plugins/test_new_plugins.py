"""New plugins of every kind as strangers have them: wheels, built and installed, and pytest that runs their checks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests import processes
from tests.cli.commands.test_new_plugin import PLUGINS
from tinyllava_kit_cli.scaffold.naming import names_of

pytest.importorskip("hatchling", reason="the build backend of new plugins")
pytestmark = pytest.mark.slow

_PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]


def distribution_of(kind: str, modality: str) -> str:
    return "-".join(["tinyllava-kit-built", kind, *([modality] if modality else [])])


def run(*words: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        words, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of a plugin of each kind, installed; their projects are beside it."""
    place = tmp_path_factory.mktemp("strangers")
    for kind, modality in PLUGINS:
        name = distribution_of(kind, modality)
        of = ["--modality", modality] if modality else []
        words = [name.removeprefix("tinyllava-kit-"), "--kind", kind, *of, "--out", f"projects/{name}"]
        done = processes.tinyllava("new-plugin", *words, cwd=place)
        assert done.returncode == 0, done.stderr
    projects = sorted(map(str, (place / "projects").iterdir()))
    build = ["wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", "dist"]
    run(*_PIP, *build, *projects, cwd=place)
    wheels = sorted(map(str, (place / "dist").glob("*.whl")))
    assert len(wheels) == len(PLUGINS)
    run(*_PIP, "install", "--no-deps", "--no-index", "--target", "site", *wheels, cwd=place)
    return place / "site"


def test_pytest_runs_the_checks_and_the_tests_of_each_and_all_are_green(site: Path) -> None:
    names = sorted(path.name for path in (site.parent / "projects").iterdir())
    settings = [
        f"tinyllava_conformance={' '.join(names)}",
        f"testpaths={' '.join(f'projects/{name}/tests' for name in names)}",
    ]
    words = [each for setting in settings for each in ("-o", setting)]
    said = run(
        *[sys.executable, "-m", "pytest", "-v", "-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider", *words],
        cwd=site.parent,
        PYTHONPATH=str(site),
        OMP_NUM_THREADS="1",
    )
    outcomes = Counter(re.findall(r"^(\S+:\S+)::\S+ (?:PASSED|SKIPPED)", said, flags=re.MULTILINE))
    for kind, modality in PLUGINS:
        name = distribution_of(kind, modality).removeprefix("tinyllava-kit-")
        assert outcomes[f"plugin:{name}"] == 2, name
        offers = names_of(name, kind, modality).offers
        assert [offered for offered, _ in offers] == PLUGINS[kind, modality]
        for offered, component in offers:
            assert outcomes[f"{offered}:{component}"] >= 5, (offered, component)
    assert len(re.findall(r"test_\w+\.py::\S+ PASSED", said)) >= len(PLUGINS)
    assert not re.search(r" (FAILED|ERROR|XFAIL|XPASS)\b", said)


def test_each_wheel_has_its_types_and_no_other_package(site: Path) -> None:
    packages = {path.name for path in site.iterdir() if path.is_dir() and not path.name.endswith(".dist-info")}
    assert packages == {distribution_of(*plugin).replace("-", "_") for plugin in PLUGINS}
    assert all((site / package / "py.typed").is_file() for package in packages)
