"""``tinyllava doctor``: a row for each finding, and what fixes it."""

from __future__ import annotations

import json

import pytest

from tests.cli.running import command_plugin, run
from tests.fakes import FakeSite, modality, tower

pytestmark = pytest.mark.usefixtures("core")


def test_doctor_of_a_healthy_installation_exits_with_0(site: FakeSite) -> None:
    site.plugin("noses", tower("nose") + modality("smell"))
    result = run("doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "ok  python  3.11.7                     /usr/bin/python",
        "ok  noses   tinyllava-kit-noses 0.1.0  modality smell; tower nose",
    ]


def test_doctor_of_a_faulty_installation_exits_with_1_and_ends_rows_with_the_fix(site: FakeSite) -> None:
    site.plugin("noses", tower("nose") + modality("smell"))
    site.plugin("needy", "import not_installed_here", requires=["nowhere>=3"])
    result = run("doctor")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "broken  needy                tinyllava-kit-needy 0.1.0  ModuleNotFoundError: No module named "
        "'not_installed_here' -> pip install what it needs (module 'not_installed_here'); or set "
        "TINYLLAVA_DISABLED_PLUGINS=needy",
        "unmet   tinyllava-kit-needy  tinyllava-kit-needy 0.1.0  requires nowhere>=3, not installed "
        "-> pip install 'nowhere>=3'",
        "ok      python               3.11.7                     /usr/bin/python",
        "ok      noses                tinyllava-kit-noses 0.1.0  modality smell; tower nose",
    ]
    assert result.stderr == "2 finding(s) need attention\n"


def test_doctor_as_json(site: FakeSite) -> None:
    site.plugin("bad", "1 / 0")
    result = run("doctor", "--json")
    assert result.exit_code == 1
    row, about_python = json.loads(result.stdout)
    assert set(row) == set(about_python)
    assert set(row) == {"status", "name", "distribution", "version", "detail", "fix"}
    assert row["status"] == "broken"


def test_doctor_probe_imports_the_targets(site: FakeSite) -> None:
    site.plugin("adds", command_plugin("dance", "not_there:command"))
    assert run("doctor").exit_code == 0
    result = run("doctor", "--probe")
    assert result.exit_code == 1
    assert " ".join(result.stdout.split()).startswith(
        "failed dance tinyllava-kit-adds 0.1.0 command 'dance' (not_there:command): "
    )
