"""``tinyllava convert``: a checkpoint of another project to a model directory of this kit."""

from __future__ import annotations

import click

from tinyllava_kit.errors import KitError
from tinyllava_kit.model.storage.recognition import AUTO, open_external, recognize_model
from tinyllava_kit_cli.commands.load_check import external_options, print_parity
from tinyllava_kit_cli.generation import FLOAT_DTYPES
from tinyllava_kit_cli.models import check_model
from tinyllava_kit_cli.printing import refuse_taken, say, say_table
from tinyllava_kit_cli.shell_completion import directories, names


@click.command
@click.argument("source", type=click.Path(), shell_complete=directories)
@click.argument("target", type=click.Path(), shell_complete=directories)
@click.option("--dtype", type=click.Choice(FLOAT_DTYPES), help="The dtype of the weights; default: the checkpoint's.")
@click.option(
    "--from",
    "layout",
    metavar="LAYOUT",
    default=AUTO,
    show_default=True,
    shell_complete=names("checkpoint"),
    help="The layout of SOURCE, one of 'tinyllava list checkpoint'; auto: by its content.",
)
@external_options
def command(
    source: str,
    target: str,
    dtype: str | None,
    layout: str,
    reference: str | None,
    names_from: str | None,
    template: str | None,
) -> None:
    """Write the checkpoint in SOURCE as a model directory of this kit, TARGET.

    SOURCE is of TinyLLaVA_Factory (factory; any of its three layouts), of TinyLLaVABench or LLaVA-1.5 (llava_legacy),
    of transformers' Llava (llava_hf), or of a layout that a plugin reads. With --from one of them, another is refused.

    A table accounts for every weight. With --reference the written model is run on another program's inputs and its
    outputs are compared; the exit code is 1 when they differ.
    """
    check_model(source)
    refuse_taken(target)
    found = recognize_model(source)
    if found.is_kit_model:
        raise KitError(f"{source!r} is a model directory of this kit already; there is nothing to convert")

    from tinyllava_kit.checkpoints.conversion import convert, table_of
    from tinyllava_kit.checkpoints.parity import open_reference

    if reference:
        open_reference(reference)
    external = open_external(found, layout=layout, names_from=names_from, template=template)

    import torch

    convert(external, target, dtype=getattr(torch, dtype) if dtype else None)
    say_table(table_of(external.rows))
    for note in external.notes:
        say(f"note: {note}")
    say(f"{external.layout}: wrote {target}", err=True)
    if reference and not print_parity(target, reference):
        raise SystemExit(1)
