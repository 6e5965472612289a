"""Commands and plugins that are wrong in one way each, and the check that says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from tests.fakes import FakeSite, offering
from tests.testing.right import caught, offered, passes, table
from tinyllava_kit import KitError
from tinyllava_kit.plugin.discovery import discover
from tinyllava_kit.plugin.specs import CommandSpec
from tinyllava_kit.testing import CheckFailure, CommandContract
from tinyllava_kit.testing.plugins import check_light, check_loaded


@click.command()
@click.argument("path")
@click.option("--lines", is_flag=True, help="Count lines.")
def right(path: str, lines: bool) -> None:
    """Count the words of a file."""
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise KitError(f"{path}: {error.strerror}") from error
    click.echo(len(text.splitlines() if lines else text.split()))


@click.command()
@click.argument("path")
def raw(path: str) -> None:
    """Raise what Python raises."""
    click.echo(Path(path).read_text())


@click.command()
@click.argument("path")
def of_two_lines(path: str) -> None:
    """Tell it in two lines."""
    if not Path(path).is_file():
        raise KitError(f"{path}:\nnot there")


@click.command()
@click.argument("path")
@click.option("--lines", is_flag=True)
def silent(path: str, lines: bool) -> None:
    """Have an option that nobody explains."""


@click.command()
@click.argument("path")
def nameless(path: str) -> None:
    pass


@click.command()
@click.argument("path")
def fails(path: str) -> None:
    """Fail."""
    raise SystemExit(0 if not Path(path).exists() else 1)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1)
def takes_anything(words: tuple[str, ...]) -> None:
    """Take whatever is written."""


@click.command()
@click.argument("path")
def once(path: str) -> None:
    """Succeed the first time alone."""
    if vars(once).setdefault("ran", 0):
        raise RuntimeError("again")
    vars(once)["ran"] = 1


def no_command() -> None:
    """Count."""


class WordsContract(CommandContract):
    component = right
    spec = CommandSpec(name="words", target=f"{__name__}:right", summary="Count the words of a file.")
    catalog = offered(spec)

    def arguments(self, folder: Path) -> Sequence[str]:
        (folder / "text").write_text("one two")
        return [str(folder / "text")]


def contract_of(command: Any) -> WordsContract:
    contract = WordsContract()
    contract.component = command
    return contract


MUTANTS: list[tuple[str, Any, str, str]] = [
    ("a raw error", raw, "refused", "raises FileNotFoundError"),
    ("an error of two lines", of_two_lines, "refused", "more than one line"),
    ("an option without help", silent, "help", "option lines has no help"),
    ("a command without a docstring", nameless, "help", "it has no docstring"),
    ("a command that fails", fails, "run", "ends with 1"),
    ("one that takes any option", takes_anything, "refused", "an unknown option is not refused"),
    ("one that runs once", once, "run", "again"),
    ("a function that is no command", no_command, "help", "no click command"),
]


def test_the_right_command_passes_every_check() -> None:
    assert passes(contract_of(right), leaving_out=["light"]) == {
        "keywords": "its spec has no option",
        "options": "its spec has no option",
    }


@table(MUTANTS)
def test_a_mutant_of_the_command_is_caught(mutant: Any, check: str, message: str) -> None:
    caught(contract_of(mutant), check, message)


def test_a_command_without_a_summary_is_caught() -> None:
    contract = contract_of(right)
    contract.spec = CommandSpec(name="words", target=f"{__name__}:right")
    caught(contract, "help", "its spec has no summary")


@pytest.mark.slow
def test_a_heavy_command_and_a_heavy_plugin_are_caught(site: FakeSite) -> None:
    heavy = "import torch, click\n\n@click.command()\ndef command():\n    'Do.'\n"
    site.module("heavy_command", heavy)
    contract = contract_of(right)
    contract.spec = CommandSpec(name="heavy", target="heavy_command:command", summary="Do.")
    caught(contract, "light", "its help imports numpy, torch")
    site.plugin("eager", "import numpy\n" + offering("tinyllava_commands", "CommandSpec(name='a', target='b:c')"))
    (row,) = discover().plugins
    check_loaded(row)
    with pytest.raises(CheckFailure, match="imports numpy\nchange: import them in the module that the spec's target"):
        check_light(row)
