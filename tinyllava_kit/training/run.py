"""Runs a recipe: each stage through transformers' Trainer, its output a model directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from ..distributed import join, on_first, rank, say, wait_for_all
from ..errors import KitError
from ..files.locks import only_writer
from ..files.paths import is_there
from ..files.writing import remove_abandoned
from .checks.preflight import check_stages
from .loop.arguments import check_reporting
from .loop.fitting import fit
from .loop.lost_workers import one_line_for_lost_workers
from .output.completion import complete
from .output.recorded_settings import check_complete, check_same
from .preparation import prepare
from .recipe import Recipe, Stage
from .stage_run import StageRun
from .stages import in_stage, is_complete


def run_recipe(recipe: Recipe, *, only: str | None = None) -> Path:
    """Run the stages in order, each from the last one's output; returns the last model directory.

    A stage whose directory is complete is not run again; one that was interrupted resumes from its last checkpoint.

    Args:
        only: run this stage alone, from what the stages before it left.

    Raises:
        KitError: a stage that is not there or was not run yet, one that was run with other settings, data or a part
            that cannot be used.
    """
    # As a model grows sure, probabilities can become denormal numbers, on which processors compute slower; what
    # this gains was not measured by itself. Threads that are made from now on inherit it.
    torch.set_flush_denormal(True)
    join()
    check_unfinished(recipe, only)
    source = Path(recipe.model)
    for stage in recipe.stages:
        run = StageRun(stage, source, recipe.directory(stage), recipe.seed, recipe.report_to)
        if only in (None, stage.name):
            with in_stage(stage.name):
                _run_unless_complete(run)
        source = run.target
        if only == stage.name:
            break
    return source


def check_unfinished(recipe: Recipe, only: str | None) -> list[Stage]:
    """Check the stages that are to be run and are not complete; returns them.

    Their parts are looked for in any model that is there to begin from.

    Raises:
        KitError: as `check_stages`; what shall be reported to is not installed.
    """
    check_reporting(recipe.report_to)
    stages = recipe.stages if only is None else [recipe.stage(only)]
    todo = [stage for stage in stages if not is_complete(recipe.directory(stage))]
    if todo:
        check_stages(str(first_model(recipe)), todo)
    return todo


def first_model(recipe: Recipe) -> Path:
    """A model of the recipe that is there: of its first complete stage, or the one that it begins with."""
    done = [recipe.directory(stage) for stage in recipe.stages]
    return next((each for each in done if is_complete(each)), Path(recipe.model))


def _run_unless_complete(run: StageRun) -> None:
    if is_complete(run.target):
        check_complete(run.settings, run.stage, run.target)
        say(f"stage {run.stage.name} is complete: {run.target}")
    else:
        run_stage(run)


def run_stage(run: StageRun) -> None:
    """Train one stage from the model directory `run.source` into `run.target`, which no other process writes meanwhile.

    Checkpoints go to ``target/checkpoints``, ``skipped.jsonl`` lists the rows that were left out, as they are found;
    the rest is written when the stage ends, see `write_outcome`.

    Raises:
        KitError: as `run_recipe`; another process trains the stage, a checkpoint is damaged, what it learned from has
            changed.
        StoppedError: a signal came; a checkpoint of the step that it came in is there.
    """
    # torch tells of a lost process by a signal, also while what it broke is put away
    with one_line_for_lost_workers(run.checkpoints, run.stage.workers), _only_trainer(run.target):
        _check_source(run)
        check_same(run.settings, run.stage, run.checkpoints)
        prepared = prepare(run)
        complete(run, prepared, fit(run, prepared))
        wait_for_all()


def _check_source(run: StageRun) -> None:
    """Check that the model exists that a stage starts from.

    Raises:
        KitError: the stage before has left nothing to begin with.
    """
    if not is_there(run.source) and run.source.parent == run.target.parent:
        before = run.source.name
        raise KitError(f"stage {before!r} was not run yet, and {run.stage.name!r} starts from it; run it first")


@contextmanager
def _only_trainer(target: Path) -> Iterator[None]:
    """While one process of this run holds the stage's directory, what killed ones left of it can go.

    Raises:
        KitError: another run has it, or it cannot be written to; in every process.
    """
    with ExitStack() as held:
        on_first(lambda: held.enter_context(only_writer(target)))
        if rank() == 0:
            remove_abandoned(target, target.parent, seconds=0)
        yield
