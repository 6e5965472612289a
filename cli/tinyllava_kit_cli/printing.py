"""What a command gives: text, and the directory that it writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tinyllava_kit.errors import KitError
from tinyllava_kit.files.printable import printable
from tinyllava_kit_cli.table import fit, terminal_width


def say(text: str = "", *, err: bool = False, nl: bool = True, **style: Any) -> None:
    """Print text, whoever wrote it: a terminal takes nothing in it for a command.

    Args:
        err: to standard error, which is for advice; results go to standard output.
        nl: end the line.
        style: how it looks on a terminal, as `click.style` takes it.
    """
    shown = printable(text)
    click.echo(click.style(shown, **style) if style else shown, err=err, nl=nl)


def say_table(rows: Sequence[Sequence[str]]) -> None:
    """Print a table: on a terminal as wide as that, elsewhere a line for each row."""
    say("\n".join(fit(rows, terminal_width())))


def refuse_taken(output: str, advice: str = "choose another one") -> None:
    """Check that `output` is a free place to write a directory to.

    Raises:
        KitError: `output` is a file, a directory with something in it, or a place that cannot be written to.
    """
    from tinyllava_kit.files.writing import check_writable

    path = Path(output)
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise KitError(f"{output!r} exists and is not empty; {advice}")
    check_writable(output)
