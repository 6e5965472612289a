"""``tinyllava load-check``: what a checkpoint is, and whether it can be loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from tinyllava_kit_cli.models import check_model
from tinyllava_kit_cli.printing import say, say_table
from tinyllava_kit_cli.shell_completion import directories


def external_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options for loading an external checkpoint."""
    for option in (
        click.option("--template", help="The chat template; default: the one that fits the LLM."),
        click.option(
            "--names-from",
            type=click.Path(exists=True, file_okay=False),
            help="The folder of the models that the checkpoint names.",
        ),
        click.option(
            "--reference",
            type=click.Path(exists=True, dir_okay=False),
            help="A safetensors file of another program's inputs and outputs.",
        ),
    ):
        command = option(command)
    return command


def print_parity(directory: str, reference: str, **how: Any) -> bool:
    """Load a model in float32, compare it with a reference, print the table; whether all is the same."""
    import torch

    from tinyllava_kit.checkpoints.loading import load_pretrained
    from tinyllava_kit.checkpoints.parity import compare, rows_of

    model, _ = load_pretrained(directory, dtype=torch.float32, **how)
    compared = compare(model, reference)
    say_table(rows_of(compared))
    return all(row.equal for row in compared)


@click.command("load-check")
@click.argument("directory", type=click.Path(), shell_complete=directories)
@external_options
def command(directory: str, reference: str | None, names_from: str | None, template: str | None) -> None:
    """Report the layout of the checkpoint in DIRECTORY, and whether its weights fit its configuration.

    Names and shapes are compared; weights are not read. With --reference the model is loaded and run on another
    program's inputs, and its outputs are compared with that program's; the exit code is 1 when they differ.
    """
    check_model(directory)

    from tinyllava_kit.checkpoints.checking import check

    checked = check(directory, names_from=names_from, template=template)
    say(f"layout: {checked.layout}")
    say(f"chat template: {checked.config.component('template').name}")
    say_table(checked.parts())
    for note in checked.notes:
        say(f"note: {note}")
    say("names and shapes fit: it can be loaded")
    if reference and not print_parity(directory, reference, names_from=names_from, template=template):
        raise SystemExit(1)
