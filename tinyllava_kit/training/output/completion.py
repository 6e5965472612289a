"""Completes a stage: its trained weights in the model that it began with, and the directory that it leaves."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from transformers.trainer_utils import rotate_checkpoints

from ...checkpoints.loading import load_pretrained
from ...distributed import rank, say
from ...model.modeling import TinyLlavaForConditionalGeneration
from ..loop.fitting import Fitted
from ..loop.sharding import is_sharded, trained_state
from ..preparation import Prepared
from ..stage_run import StageRun
from ..trained_parts import OpenParts
from .history import stage_record
from .outcome import SHOWN, write_outcome


def complete(run: StageRun, prepared: Prepared, fitted: Fitted) -> None:
    """Write the stage's directory in the first process, from the weights of all; every process must call it.

    Raises:
        KitError: it cannot be written.
    """
    attention = prepared.model.language_model.config._attn_implementation  # with which packs were seen to stay apart
    learned = trained_state(prepared.model)
    if rank() == 0:
        learned = {**learned, **_best(fitted)}
        _write(run, prepared, fitted, learned, attention)
        rotate_checkpoints(str(run.checkpoints), save_total_limit=1)


def _write(
    run: StageRun, prepared: Prepared, fitted: Fitted, learned: Mapping[str, torch.Tensor], attention: str
) -> None:
    stage, conversations = run.stage, prepared.conversations
    record = stage_record(
        stage,
        run.settings,
        prepared.parts.trained,
        fitted.trainer,
        seconds=fitted.seconds,
        samples=len(conversations),
        skipped=_count_skipped(run, prepared),
    )
    model, parts = _in_own_weights(run, prepared, learned)
    if stage.packing is not None:
        model.config.packs_apart = sorted({*model.config.packs_apart, attention})
    generates = stage.objective is None or stage.objective.runs_llm
    log, shown = fitted.trainer.state.log_history, conversations[:SHOWN] if generates else ()
    write_outcome(run.target, run.source, model, prepared.processor, parts, run.settings, record, log, shown)


def _best(fitted: Fitted) -> dict[str, torch.Tensor]:
    """The weights of the best step, where these are kept and are not the last; says so.

    Raises:
        KitError: they are gone.
    """
    best = fitted.trainer.best_weights()
    if best:
        state = fitted.trainer.state
        say(
            f"kept the weights of step {state.best_global_step}, the best on the held-out rows: {state.best_metric:.4g}"
        )
    return best


def _count_skipped(run: StageRun, prepared: Prepared) -> int:
    """How many rows were left out; says where they are listed."""
    count = prepared.skipped.tidy()
    if count:
        say(f"{count} rows were skipped; {run.skipped_file} says why")
    return count


def _in_own_weights(
    run: StageRun, prepared: Prepared, learned: Mapping[str, torch.Tensor]
) -> tuple[TinyLlavaForConditionalGeneration, OpenParts]:
    """The model with what was `learned`, and its parts.

    Of a quantized one, the model that it was quantized from; of one that is spread over processes, a whole one.
    """
    if not run.stage.quantization and not is_sharded(prepared.model):
        prepared.model.load_state_dict(learned, strict=False)
        return prepared.model, prepared.parts
    model, _ = load_pretrained(run.source)
    parts = OpenParts(model, run.stage.train)
    model.load_state_dict(learned, strict=False)
    return model, parts
