"""Commands that are wrong in one way each, and the check that says so."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from tests.fakes import FakeSite
from tests.testing.right import caught, offered, passes, table
from tinyllava_kit import KitError
from tinyllava_kit.files import reading, write_file
from tinyllava_kit.plugin.specs import CommandSpec, Option
from tinyllava_kit.testing import CommandContract


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


@click.command()
@click.argument("path")
@click.option("--lines", is_flag=True, help="Count lines.")
def deaf(path: str, lines: bool) -> None:
    """Have an option that nothing reads."""
    click.echo(len(Path(path).read_text().split()))


@click.command()
@click.argument("path")
@click.option("--unit", type=click.Choice(["words", "lines"]), default="word", help="What is counted.")
def of_no_choice(path: str, unit: str) -> None:
    """Have a default that is none of its choices."""


@click.command()
@click.argument("path")
@click.option("--lines", "-l", is_flag=True, help="Count lines.")
@click.option("--letters", "-l", is_flag=True, help="Count letters.")
def of_one_flag(path: str, lines: bool, letters: bool) -> None:
    """Have two options of one flag."""


@click.command()
@click.argument("path")
def content(path: str) -> None:
    """End well where the file is not there."""
    if not Path(path).is_file():
        click.echo(f"error: {path} is not there", err=True)
        return
    click.echo(Path(path).read_text())


@click.command()
@click.argument("path")
def traced(path: str) -> None:
    """Print where it failed."""
    try:
        click.echo(Path(path).read_text())
    except OSError:
        traceback.print_exc()
        raise SystemExit(2) from None


@click.command()
@click.argument("path", type=click.File())
def of_click(path: Any) -> None:
    """Leave it to click's type."""
    click.echo(path.read())


@click.command()
@click.argument("path")
def ends_with_one(path: str) -> None:
    """End with the code of findings."""
    if not Path(path).is_file():
        raise click.ClickException(f"{path} is not there")


@click.command()
@click.argument("path")
def astray(path: str) -> None:
    """Go to the folder of the file."""
    if Path(path).is_file():
        os.chdir(Path(path).parent)


def copy(path: str, write: Callable[[Path, str], object]) -> None:
    """Write what is in a file beside it, many times."""
    with reading(f"cannot read {path}"):
        text = Path(path).read_text(encoding="utf-8")
    write(Path(path).with_name("copy"), text * 99)


@click.command()
@click.argument("path")
def writing(path: str) -> None:
    """Write a file as one should."""
    copy(path, write_file)


@click.command()
@click.argument("path")
def half(path: str) -> None:
    """Write a file in place, and tell where it could not."""
    try:
        copy(path, lambda target, text: target.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise KitError(f"{path}: {error.strerror}") from error


@click.command()
@click.argument("path")
def silent_half(path: str) -> None:
    """Write a file in place, and mind nothing."""
    with suppress(OSError):
        copy(path, lambda target, text: target.write_text(text, encoding="utf-8"))


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
    ("an option that is ignored", deaf, "options", "option lines changes nothing: --lines gives what is given without"),
    ("a default that is none of its choices", of_no_choice, "run", "ends with 2: .*'word' is not"),
    ("two options of one flag", of_one_flag, "help", "two options are called -l"),
    ("one that ends with 0 where its file is missing", content, "missing", "is not there, and it ends with 0"),
    ("one that prints a traceback", traced, "refused", "prints a traceback"),
    ("one that ends with 1 at a mistake", ends_with_one, "refused", "ends with 1, expected 2"),
    ("one that leaves the working directory", astray, "run", "goes to another working directory"),
    ("half a file where the disk is full", half, "atomic", "a disk that is full: it leaves copy"),
    ("one that ends with 0 where the disk is full", silent_half, "atomic", "a disk that is full: it ends with 0"),
]
# Fields of its spec.
SPECS: list[tuple[str, dict[str, Any], str, str]] = [
    ("a spec without a summary", {"summary": ""}, "help", "its spec has no summary"),
    (
        "an option in its spec, which never arrives",
        {"options": (Option(name="lines", type=bool, default=False),)},
        "keywords",
        "nothing gives a command its options: lines",
    ),
    ("one that imports torch at its start", {"target": "heavy_command:command"}, "light", "its help imports .*torch"),
]


def test_the_right_commands_pass_every_check() -> None:
    assert passes(contract_of(right), leaving_out=["light"]) == {
        "keywords": "its spec has no option",
        "atomic": "it writes nothing to the folder of its arguments",
    }
    assert passes(contract_of(writing), leaving_out=["light"]) == {
        "keywords": "its spec has no option",
        "options": "it has no option beside its arguments",
    }
    contract_of(of_click).test_missing()  # click's own error


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        (click.option("--times", type=int, default=1, help="How often."), "3"),
        (click.option("--times", type=click.Choice(["1", "2"]), default="1", help="How often."), "2"),
        (click.option("--times/--no-times", default=False, help="Whether."), "yes"),
        (click.option("--times", default="", help="Where to write how often."), "a file"),
    ],
)
def test_an_option_of_any_type_is_tried(option: Any, shown: str) -> None:
    @click.command()
    @click.argument("path")
    @option
    def told(path: str, times: Any) -> None:
        """Say it."""
        if shown == "a file" and times:
            Path(times).write_text("often")
        click.echo("done" if shown == "a file" else times)

    contract_of(told).test_options()


def test_an_option_that_no_toy_shows_has_its_reason_or_a_value() -> None:
    contract = contract_of(deaf)
    vars(contract)["unseen_options"] = {"lines": "a toy has one line"}
    contract.test_options()

    @click.command()
    @click.argument("path")
    @click.option("--unit", default="words", help="What is counted.")
    def of_units(path: str, unit: str) -> None:
        """Count."""
        if unit not in ("words", "lines"):
            raise KitError(f"no unit {unit!r}")
        click.echo(unit)

    contract = contract_of(of_units)
    caught(contract, "options", "option unit: nothing that was tried is taken: --unit a new file .no unit ")
    vars(contract)["other_options"] = {"unit": "lines"}
    contract.test_options()


@table(MUTANTS)
def test_a_mutant_of_the_command_is_caught(mutant: Any, check: str, message: str) -> None:
    caught(contract_of(mutant), check, message)


@pytest.mark.slow
@table(SPECS)
def test_a_mutant_of_its_spec_is_caught(mutant: dict[str, Any], check: str, message: str, site: FakeSite) -> None:
    site.module("heavy_command", "import torch, click\n\n@click.command()\ndef command():\n    'Do.'\n")
    contract = contract_of(right)
    contract.spec = replace(WordsContract.spec, **mutant)
    caught(contract, check, message)
