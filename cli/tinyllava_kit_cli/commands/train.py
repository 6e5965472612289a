"""``tinyllava train``: the stages of a recipe."""

from __future__ import annotations

import click

from tinyllava_kit_cli.output import say
from tinyllava_kit_cli.recipes import read_recipe


@click.command
@click.argument("recipe", type=click.Path())
@click.option("--stage", help="Run only this stage.")
def command(recipe: str, stage: str | None) -> None:
    """Train a model as a RECIPE (YAML) says.

    A complete stage is not run again; an interrupted one resumes from its last checkpoint. SIGTERM or Ctrl-C ends the
    run with a checkpoint after the current step; a second one ends it at once.
    """
    checked = read_recipe(recipe, stage)

    from tinyllava_kit.distributed import one_telling, rank
    from tinyllava_kit.training.loop.stopping import StoppedError
    from tinyllava_kit.training.run import run_recipe

    try:
        with one_telling():
            directory = run_recipe(checked, only=stage)
    except StoppedError as stopped:
        if rank() == 0:
            say(str(stopped), err=True)
        raise SystemExit(stopped.code) from stopped
    if rank() == 0:
        say(f"the trained model is in {directory}", err=True)
