"""``python -m benchmarks``: one line a figure, the verdict last; exit code 1 when one is short of its goal."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click

from tinyllava_kit import KitError
from tinyllava_kit_cli.app import UserError

from . import memory
from .figure import Figure, verdict

QUICK = ("fuse", "qwen2_audio", "factory", "start")
LONG = ("loading", "audio", "data_loading", "training", "speaking", "serving", "gpu")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(QUICK + LONG))
@click.option("--all", "everything", is_flag=True, help="Those that are not quick, too.")
@click.option(
    "--factory", type=click.Path(path_type=Path), help="A checkout of TinyLLaVA_Factory, to measure its splice."
)
@click.option(
    "--cache", type=click.Path(file_okay=False, path_type=Path), help="Where the models of `loading` and `gpu` stay."
)
@click.option(
    "--memory",
    "way",
    type=click.Choice(list(memory.WAYS)),
    default="settled",
    help="How memory is allocated; see memory.py.",
)
def main(names: tuple[str, ...], everything: bool, factory: Path | None, cache: Path | None, way: str) -> None:
    """Measure what NAMES say, or all that is quick."""
    memory.take(way)
    figures = []
    with tempfile.TemporaryDirectory() as passing:
        for name in names or (QUICK + LONG if everything else QUICK):
            if name == "factory" and factory is None:
                click.echo("factory absent - give --factory PATH, a checkout of TinyLLaVA_Factory")
                continue
            if name == "gpu" and not _has_device():
                click.echo("gpu absent - torch finds no CUDA device")
                continue
            try:
                for figure in run(name, factory, cache or Path(passing)):
                    click.echo(figure.line())
                    figures.append(figure)
            except KitError as error:
                raise UserError(str(error)) from error
    click.echo(verdict(figures))
    sys.exit(any(figure.is_short for figure in figures))


def _has_device() -> bool:
    from .device import first_device  # which imports torch

    return first_device() is not None


def run(name: str, checkout: Path | None, cache: Path) -> Iterator[Figure]:
    """The figures of one benchmark. Only its module is imported."""
    module = import_module(f".{name}", __package__)
    arguments = {"factory": (checkout,), "loading": (cache,), "gpu": (cache / "gpu",)}
    return module.figures(*arguments.get(name, ()))


if __name__ == "__main__":
    main()
