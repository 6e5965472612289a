"""What a command gives: text, and the directory that it writes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tinyllava_kit.errors import KitError
from tinyllava_kit.files.printable import one_line, printable
from tinyllava_kit_cli.table import align


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
    """Print a table, its first row the head: on a terminal as wide as that, elsewhere a line for each row.

    For commands that are heavy anyway: what draws it takes a tenth of a second to import.
    """
    if not sys.stdout.isatty():
        say("\n".join(align(rows)))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    head, *rest = [[Text(one_line(cell)) for cell in row] for row in rows]
    table = Table(*map(Column, head), box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for row in rest:
        table.add_row(*row)
    Console(file=sys.stdout, highlight=False).print(table)


def refuse_taken(output: str, advice: str = "choose another one") -> None:
    """
    Raises:
        KitError: `output` is a file, a directory with something in it, or a place that cannot be written to.
    """
    from tinyllava_kit.files.writing import check_writable

    path = Path(output)
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise KitError(f"{output!r} exists and is not empty; {advice}")
    check_writable(output)
