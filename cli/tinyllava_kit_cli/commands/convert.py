"""``tinyllava convert``: a checkpoint of another project to a model directory of this kit."""

from __future__ import annotations

import click

from tinyllava_kit_cli.commands.load_check import foreign_options, print_parity
from tinyllava_kit_cli.output import refuse_taken


@click.command(short_help="Write another project's checkpoint as a model of this kit.")
@click.argument("source", type=click.Path())
@click.argument("target", type=click.Path())
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), help="Default: as the weights are.")
@foreign_options
def command(
    source: str, target: str, dtype: str | None, reference: str | None, names_from: str | None, template: str | None
) -> None:
    """Write the checkpoint in SOURCE as a model directory of this kit, TARGET.

    SOURCE is of TinyLLaVA_Factory (any of its three layouts), of TinyLLaVABench, of LLaVA-1.5 or of transformers'
    Llava; which of them is found from what is inside. A table accounts for every weight. With --reference the written
    model is run on another program's inputs and its outputs are compared; the exit code is 1 when they differ.
    """
    from pathlib import Path

    from tinyllava_kit.checkpoints.conversion import convert, table_of
    from tinyllava_kit.checkpoints.layouts import is_ours, open_foreign, read_config
    from tinyllava_kit.core.errors import KitError
    from tinyllava_kit_cli.table import align

    refuse_taken(target)
    if is_ours(read_config(Path(source))):
        raise KitError(f"{source!r} is a model directory of this kit already; there is nothing to convert")
    foreign = open_foreign(source, names_from=names_from, template=template)

    import torch

    convert(foreign, target, dtype=getattr(torch, dtype) if dtype else None)
    click.echo("\n".join(align(table_of(foreign.rows))))
    for note in foreign.notes:
        click.echo(f"note: {note}")
    click.echo(f"{foreign.layout}: wrote {target}", err=True)
    if reference and not print_parity(target, reference):
        raise SystemExit(1)
