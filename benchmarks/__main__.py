"""``python -m benchmarks``: one line a figure, the verdict last; exit code 1 when one is short of its goal."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from . import memory
from .figure import Figure, verdict

QUICK = ("fuse", "start")
LONG = ("loading",)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(QUICK + LONG))
@click.option("--all", "everything", is_flag=True, help="Those that are not quick, too.")
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path), help="Where the model of `loading` stays.")
@click.option(
    "--memory", "way", type=click.Choice(list(memory.WAYS)), default="settled", help="Of `fuse`; see memory.py."
)
def main(names: tuple[str, ...], everything: bool, cache: Path | None, way: str) -> None:
    """Measure what NAMES say, or all that is quick."""
    memory.take(way)
    figures = []
    with tempfile.TemporaryDirectory() as passing:
        for name in names or (QUICK + LONG if everything else QUICK):
            for figure in run(name, cache or Path(passing)):
                click.echo(figure.line())
                figures.append(figure)
    click.echo(verdict(figures))
    sys.exit(any(figure.is_short for figure in figures))


def run(name: str, cache: Path) -> Iterator[Figure]:
    """The figures of one benchmark. Only what is run is imported."""
    if name == "fuse":
        from . import fuse

        return fuse.figures()
    if name == "start":
        from . import start

        return start.figures()
    from . import loading

    return loading.figures(cache)


if __name__ == "__main__":
    main()
