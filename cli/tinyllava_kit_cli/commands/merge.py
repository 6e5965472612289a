"""``tinyllava merge``: adapters that stages kept, added to a model's weights."""

from __future__ import annotations

import os

import click

from tinyllava_kit.errors import KitError, shown
from tinyllava_kit.files.paths import meant
from tinyllava_kit_cli.models import check_model
from tinyllava_kit_cli.printing import refuse_taken, say
from tinyllava_kit_cli.shell_completion import directories


@click.command
@click.argument("source", type=click.Path(), shell_complete=directories)
@click.argument("target", type=click.Path(), shell_complete=directories)
@click.option(
    "--adapters",
    multiple=True,
    required=True,
    metavar="DIR",
    type=click.Path(),
    shell_complete=directories,
    help="The directory of a stage that kept its adapters; repeatable.",
)
def command(source: str, target: str, adapters: tuple[str, ...]) -> None:
    """Write the model of SOURCE to TARGET with adapters added to its weights.

    A stage keeps its adapters if its recipe has lora: {keep: true}. Repeat --adapters to add those of several stages
    and parts.
    """
    check_model(source)
    refuse_taken(target)
    for directory in adapters:
        if not os.path.isdir(directory):
            raise KitError(f"no directory {shown(directory)}; {meant(directory) or 'give one of a stage'}")

    from tinyllava_kit import load_pretrained
    from tinyllava_kit.checkpoints.adapters import merge_adapters
    from tinyllava_kit.checkpoints.card import read_history, write_card, write_history
    from tinyllava_kit.model.storage.replaced import atomic_model, save_together

    model, processor = load_pretrained(source)
    history = read_history(source)
    for directory in adapters:
        merged = merge_adapters(model, directory)
        say(f"{directory}: adapters of {', '.join(merged)}", err=True)
        new = [stage for stage in read_history(directory)[-1:] if stage not in history]
        if others := [part["name"] for stage in new for part in stage["parts"] if part["name"] not in merged]:
            say(f"{directory}: only adapters are taken, not its {', '.join(others)}", err=True)
        history += new
    with atomic_model(target) as stage:
        save_together(stage, model, processor)
        write_history(stage, history)
    write_card(target)
    say(f"wrote {target}", err=True)
