"""`tinyllava new-plugin`: a complete distribution for a component of one's own."""

from __future__ import annotations

from pathlib import Path

import click

from tinyllava_kit.plugin.discovery import installed_catalog
from tinyllava_kit_cli.app import COMMANDS
from tinyllava_kit_cli.printing import say
from tinyllava_kit_cli.scaffold.naming import check_free, check_read, names_of
from tinyllava_kit_cli.scaffold.rendering import SCAFFOLDS, render, write


@click.command
@click.argument("name")
@click.option("--kind", type=click.Choice(SCAFFOLDS), required=True, help="What the plugin offers.")
@click.option(
    "--modality",
    default="",
    metavar="MODALITY",
    help="What a tower reads (default: image), or a decoder writes (default: a modality of its own).",
)
@click.option("--out", metavar="DIR", help="Where to write it; default: tinyllava-kit-NAME here.")
def command(name: str, kind: str, modality: str, out: str | None) -> None:
    """Write a plugin that offers the component NAME: a distribution that can be installed, and whose tests pass.

    \b
    Examples:
      tinyllava new-plugin depth --kind modality
      tinyllava new-plugin my-clip --kind tower --modality image
    """
    names, catalog = names_of(name, kind, modality), installed_catalog()
    check_free(names, catalog, COMMANDS)
    if said := check_read(names, catalog):
        say(f"note: {said}", err=True)
    files, folder = render(names), Path(out or names.distribution)
    write(files, folder)
    say(f"{len(files)} files in {folder}; now:\n  cd {folder}\n  pip install -e '.[test]'\n  pytest")
