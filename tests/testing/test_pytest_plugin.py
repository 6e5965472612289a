"""`pytest --tinyllava-conformance`: which checks run, what they are called, and what is said of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import FakeSite
from tinyllava_kit.plugin.discovery import discover
from tinyllava_kit.plugin.specs import KINDS
from tinyllava_kit.testing import CheckFailure, contract_of

pytest_plugins = ["pytester"]

COMMAND = """
import click
from tinyllava_kit.testing import CommandContract

@click.command()
@click.option("--loud", is_flag=True, help="Say it loudly.")
def command(loud):
    "Greet."
    click.echo("HELLO" if loud else "hello")

class Greets(CommandContract):
    expected_failures = {}

    def arguments(self, folder):
        return ["--loud"]

class Knows(Greets):
    expected_failures = {"run": "it fails today"}

    def arguments(self, folder):
        return ["--softly"]

class Hopes(Greets):
    expected_failures = {"help": "it has none, it is said"}

class Invents(Greets):
    expected_failures = {"sings": "no such check"}
"""
SPEC = "CommandSpec(name='greet', target='greeting:command', summary='Greet.', contract='greeting:{contract}')"


@pytest.fixture
def greeting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester):
    """Offer the command with one of the contracts, beside what is installed."""
    site = FakeSite(tmp_path / "site", monkeypatch)
    # pytester would forget the modules that a run imports; torch cannot be imported twice
    monkeypatch.setattr("_pytest.pytester.SysModulesSnapshot.restore", lambda self: None)

    def install(contract: str) -> pytest.Pytester:
        site.module("greeting", COMMAND)
        site.plugin("greet", f"@hookimpl\ndef tinyllava_commands():\n    return [{SPEC.format(contract=contract)}]\n")
        return pytester

    return install


def run(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("--import-mode=importlib", *words)


FLAG = "--tinyllava-conformance=tinyllava-kit-greet"
NOT_LIGHT = ("-k", "not light")  # that check starts a process, which does not see the fake installation


def test_each_component_is_a_class_of_checks_with_reasons(greeting) -> None:
    result = run(greeting("Greets"), "-v", FLAG, *NOT_LIGHT)
    result.stdout.fnmatch_lines(["plugin:greet::loaded PASSED*", "command:greet::run PASSED*"])
    result.stdout.fnmatch_lines(["command:greet::keywords does not apply: its spec has no option"])
    assert result.ret == 0


def test_an_id_as_it_is_printed_selects_one_check(greeting) -> None:
    result = run(greeting("Greets"), FLAG, "-k", "command:greet::run")
    result.assert_outcomes(passed=1)


def test_without_a_path_the_checks_are_all_and_with_one_both_run(greeting) -> None:
    pytester = greeting("Greets")
    pytester.makepyfile(test_own="def test_own():\n    pass\n")
    only = run(pytester, FLAG, "-k", "own or greet::run")
    only.assert_outcomes(passed=1)
    both = run(pytester, FLAG, "-k", "own or greet::run", "test_own.py")
    both.assert_outcomes(passed=2)


def test_a_project_may_count_them_among_its_tests(greeting) -> None:
    pytester = greeting("Greets")
    pytester.makepyfile(test_own="def test_own():\n    pass\n")
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\ntinyllava_conformance = ['tinyllava-kit-greet']\n")
    run(pytester, "-k", "own or greet::run").assert_outcomes(passed=2)
    run(pytester, "-k", "own or greet::run", "test_own.py").assert_outcomes(passed=1)


def test_an_expected_failure_is_strict(greeting) -> None:
    result = run(greeting("Knows"), FLAG, "-k", "greet::run or greet::help")
    result.assert_outcomes(xfailed=1, passed=1)
    result.stdout.fnmatch_lines(["command:greet::run fails, as expected: it fails today"])


def test_an_expected_failure_that_passes_is_a_failure(greeting) -> None:
    result = run(greeting("Hopes"), FLAG, "-k", "greet::help")
    result.assert_outcomes(failed=1)


def test_an_expected_failure_of_no_check_is_a_failure(greeting) -> None:
    result = run(greeting("Invents"), FLAG, "-k", "sings")
    result.stdout.fnmatch_lines(["expected_failures names 'sings', which is no check", "change: take it out"])
    assert result.ret == 1


def test_a_contract_that_is_not_there_is_one_failing_check(greeting) -> None:
    result = run(greeting("Gone"), FLAG, "-k", "greet::contract")
    result.stdout.fnmatch_lines(
        ["*contract='greeting:Gone' cannot be imported: *", "change: the contract of the spec*"]
    )
    assert result.ret == 1


def test_a_contract_of_another_kind_is_refused(site: FakeSite) -> None:
    site.module("greeting", COMMAND)
    offer = "ConnectorSpec(name='joint', target='a.b:C', contract='greeting:Greets')"
    site.plugin("joint", f"@hookimpl\ndef tinyllava_connectors():\n    return [{offer}]\n")
    catalog = discover()
    with pytest.raises(CheckFailure, match="is no ConnectorContract\nchange: let the class extend ConnectorContract"):
        contract_of(catalog.find("connector", "joint"), catalog)


def test_an_unknown_distribution_is_told_with_the_near_ones(greeting) -> None:
    result = run(greeting("Greets"), "--tinyllava-conformance=tinyllava-kit-great")
    result.stderr.fnmatch_lines(["ERROR: *no plugin is of distribution 'tinyllava-kit-great'; *tinyllava-kit-greet*"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_a_class_of_tests_that_is_a_contract_keeps_its_expected_failures(greeting) -> None:
    pytester = greeting("Greets")
    pytester.makepyfile(
        test_mine="from greeting import Knows, command\n\nclass TestMine(Knows):\n    component = command\n"
    )
    run(pytester, "test_mine.py", "-k", "test_run or test_help").assert_outcomes(xfailed=1, passed=1)


@pytest.mark.slow
def test_pytest_alone_imports_nothing_heavy() -> None:
    """The entry point is loaded whenever pytest runs, in any project of the environment."""
    asks = "import sys, tinyllava_kit.testing.pytest_plugin; print({'torch', 'numpy', 'click'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_repository_of_contracts_is_whole() -> None:
    """Each name that stands for a contract is a class of that kind."""
    from tinyllava_kit.testing.offered import CONTRACTS, _class_of

    for key, target in CONTRACTS.items():
        assert _class_of(target).kind == key.partition(".")[0]
    assert {key.partition(".")[0] for key in CONTRACTS} == set(KINDS)
