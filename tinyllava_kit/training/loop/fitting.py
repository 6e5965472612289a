"""Trains a prepared stage with transformers' Trainer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from ...distributed import from_all, rank, say, world_size
from ...errors import KitError
from ..batches.dummy_items import WithDummyItems, dummy_items
from ..checks.gradient_check import check_gradients
from ..feature_caching import cache_features
from ..objectives.objective import lesson_of
from ..output.checkpoints import last_checkpoint
from ..output.decisions import forget_decisions
from ..output.recorded_settings import STAGE_FILE, write_settings
from ..preparation import Prepared
from ..recipe import Stage
from ..stage_run import StageRun
from .arguments import training_arguments
from .clock import Clock
from .lost_workers import one_line_for_lost_workers
from .progress import Progress
from .stopping import Stopper
from .trainer import KitTrainer
from .validation import HeldOut, ValidateAtEnd


@dataclass(frozen=True)
class Fitted:
    """A trainer that has done its last step, and how long the stage has trained."""

    trainer: KitTrainer
    seconds: float


def fit(run: StageRun, prepared: Prepared) -> Fitted:
    """Train the stage from its last checkpoint or its beginning, to its last step.

    Raises:
        KitError: a part gets no gradient, a row cannot be read, a loss is not finite, a checkpoint cannot be written.
        StoppedError: a signal came.
    """
    clock, stopper = Clock(run.stage.max_minutes), Stopper()
    validating = [] if run.stage.validation is None else [ValidateAtEnd()]
    progress = Progress(run.stage.name, clock, about=about(run, prepared))
    trainer = trainer_of(run, prepared, clock, [*validating, stopper, progress])
    _check_can_keep_best(trainer)
    with _clean_failure(trainer, run.checkpoints), one_line_for_lost_workers(run.checkpoints, run.stage.workers):
        if prepared.samples_of_parts and world_size() == 1:
            check_gradients(trainer, prepared.parts.trained, prepared.samples_of_parts, _why_cut(run.stage))
        if rank() == 0:
            write_settings(run.settings, run.checkpoints)
        with stopper.listening(), closing(progress):
            trainer.train(resume_from_checkpoint=None if prepared.last is None else str(prepared.last))
        stopper.check(trainer.state.global_step)
    _report_truncations(trainer.data_collator, run.stage)
    return Fitted(trainer, clock.seconds)


def about(run: StageRun, prepared: Prepared) -> str:
    """A stage in words: its rows, how many parameters are trained, where and in which dtype."""
    model, stage = prepared.model, run.stage
    rows = f" over {len(prepared.conversations):,} rows" if prepared.conversations else " over a stream"
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    parts = ", ".join(f"{name} ({stage.train[name].mode})" for name in prepared.parts.trained)
    weights = f"{trained:,} of {sum(p.numel() for p in model.parameters()):,} weights"
    device = torch.accelerator.current_accelerator(check_available=True) or "cpu"
    return f"{rows}; trains {parts}, {weights}; on {device} in {str(model.dtype).removeprefix('torch.')}"


def trainer_of(run: StageRun, prepared: Prepared, clock: Clock, callbacks: Sequence[TrainerCallback]) -> KitTrainer:
    """The Trainer of a stage, its features cached where the stage says so; the other callbacks may read the clock."""
    stage, model, parts, batches = run.stage, prepared.model, prepared.parts, prepared.batches
    arguments = training_arguments(
        stage, run.checkpoints, run.seed, epochs=stage.epochs if batches is None else 1, report_to=run.report_to
    )
    cache_features(model, prepared.dataset, stage, batches, run.cache_folder, run.checkpoints, arguments.device)
    samples, collator, loss = lesson_of(stage, prepared.dataset, model)
    if world_size() > 1:
        collator = WithDummyItems(collator, dummy_items(prepared.dataset))
    return KitTrainer(
        model=model,
        args=arguments,
        train_dataset=samples,
        data_collator=collator,
        processing_class=prepared.processor,
        callbacks=[clock, *callbacks],
        clock=clock,
        training=[(module, stage.train[name]) for name, module in parts.trained.items()],
        batches=batches,
        loss=loss,
        held_out=None if prepared.held_out is None else HeldOut.of(stage, prepared.held_out, model),
        provenance=prepared.provenance,
        packed=stage.packing is not None,
    )


def _check_can_keep_best(trainer: KitTrainer) -> None:
    """Check that this run can keep its best weights.

    Raises:
        KitError: the best weights are to be kept, and are spread over processes.
    """
    spread = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    if trainer.held_out is not None and trainer.held_out.how.keep == "best" and spread:
        raise KitError("validation.keep: the best weights of a model that is sharded cannot be kept; write keep: last")


def _report_truncations(collator: Any, stage: Stage) -> None:
    """Say how many samples were cut, in all processes together."""
    count = sum(from_all(collator.num_cut))
    if count:
        say(f"{count} times, samples {_why_cut(stage)}")


def _why_cut(stage: Stage) -> str:
    if stage.match_words:
        return "have more words than rows; take shorter texts, or a connector that gives more rows"
    return f"were cut at max_length {stage.max_length}"


@contextmanager
def _clean_failure(trainer: KitTrainer, checkpoints: Path) -> Iterator[None]:
    """Where training raises a KitError: the line of progress has ended, and no folder without a checkpoint is left."""
    try:
        yield
    except KitError as error:
        trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)
        if last_checkpoint(checkpoints) is None:
            (checkpoints / STAGE_FILE).unlink(missing_ok=True)
            forget_decisions(checkpoints)
        for folder in (checkpoints, *checkpoints.parents[:2]):
            with suppress(OSError):
                folder.rmdir()  # which refuses one that is not empty
        raise type(error)(_without_traceback(str(error), type(error).__name__)) from error


def _without_traceback(message: str, kind: str) -> str:
    """The message of an error; processes that read data (`workers`) give it in the last line of a traceback."""
    return message.rpartition(f".{kind}: ")[2].strip() if "\nOriginal Traceback" in message else message
