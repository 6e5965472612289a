"""``tinyllava train``: the stages of a recipe."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from tinyllava_kit_cli.printing import say
from tinyllava_kit_cli.recipes import read_recipe
from tinyllava_kit_cli.table import align

if TYPE_CHECKING:
    from tinyllava_kit.training.dry_run import Estimate
    from tinyllava_kit.training.recipe import Recipe


@click.command
@click.argument("recipe", type=click.Path())
@click.option("--stage", help="Run only this stage.")
@click.option("--set", "changes", multiple=True, metavar="STAGE.KEY=VALUE", help="Change a key of a stage.")
@click.option("--dry-run", is_flag=True, help="Time a few steps, tell memory, steps and time, and write nothing.")
def command(recipe: str, stage: str | None, changes: tuple[str, ...], dry_run: bool) -> None:
    """Train a model as a RECIPE (YAML) says.

    A complete stage is not run again; an interrupted one resumes from its last checkpoint. SIGTERM or Ctrl-C ends the
    run with a checkpoint after the current step; a second one ends it at once.
    """
    checked = read_recipe(recipe, stage, changes)
    if dry_run:
        _estimate(checked, stage)
        return

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


def _estimate(recipe: Recipe, stage: str | None) -> None:
    from tinyllava_kit.training.dry_run import TIMED, dry_run

    seconds = 0.0
    for found in dry_run(recipe, only=stage):
        seconds += found.seconds
        say(f"stage {found.stage}")
        for line in align(_rows(found, TIMED)):
            say(f"  {line}")
    say(f"{timedelta(seconds=round(seconds))} in all, without reading the data and validation; nothing was written")


def _rows(found: Estimate, timed: int) -> list[tuple[str, str]]:
    limit = f", {found.steps_in_time:,} in max_minutes" if found.steps_in_time < found.steps else ""
    rows = [
        ("rows", "a stream" if found.rows is None else f"{found.rows:,}"),
        ("steps", f"{found.steps:,}{limit}"),
        ("a step", f"{found.step_seconds:.3g} s, the mean of {timed}"),
        ("before the first step", str(timedelta(seconds=round(found.first_seconds)))),
        ("time", str(timedelta(seconds=round(found.seconds)))),
        ("trained", f"{found.trained:,} of {found.parameters:,} parameters"),
        ("memory", f"{found.memory / 1e9:.2f} GB at most, on {found.device}"),
    ]
    return [row for row in rows if row[0] != "before the first step" or found.first_seconds]
