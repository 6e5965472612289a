"""What is shipped: a licence and typed packages in every project; the checks of a commit are those of `make`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.house.imports import ROOT

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

PROJECTS = [
    ROOT / "pyproject.toml",
    *sorted(ROOT.glob("plugins/*/pyproject.toml")),
    *sorted(ROOT.glob("examples/plugins/*/pyproject.toml")),
]
every_project = pytest.mark.parametrize("project", PROJECTS, ids=lambda file: file.parent.name)


@every_project
def test_a_project_ships_the_licence_that_it_names(project: Path) -> None:
    said = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    assert (said["license"], said["license-files"]) == ("Apache-2.0", ["LICENSE"])
    text = (project.parent / "LICENSE").read_text(encoding="utf-8")
    assert text == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


@every_project
def test_the_packages_of_a_wheel_are_typed(project: Path) -> None:
    hatch = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["hatch"]
    marks = [project.parent / package / "py.typed" for package in hatch["build"]["targets"]["wheel"]["packages"]]
    assert marks
    assert all(mark.is_file() for mark in marks)
    ignored = subprocess.run(["git", "check-ignore", *marks], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ignored.stdout == ""  # hatchling leaves out what git ignores


def test_a_commit_is_checked_as_make_does() -> None:
    settings = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in settings["repos"] for hook in repo["hooks"]]
    recipe = re.search(r"^check: .*\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe is not None
    made = re.findall(r"\$\(BIN\)/([a-z]+(?: [a-z]+)?)", recipe[1])
    assert [re.match(r"\.venv/bin/([a-z]+(?: [a-z]+)?)", hook["entry"])[1] for hook in hooks] == made  # type: ignore[index]


def test_hosted_ci_runs_the_one_script_from_the_oldest_python_on() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["tests"]
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    for project in PROJECTS:
        oldest = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["requires-python"]
        assert oldest == f">={job['strategy']['matrix']['python'][0]}"
