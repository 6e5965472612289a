"""A stage of a recipe as the Trainer's arguments."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from ...errors import KitError
from ...files.failures import first_line
from ..output.checkpoints import KEPT
from ..output.decisions import decided
from ..recipe import Stage
from ..trainer_settings import checked_arguments
from .validation import LOSS, SCORE

PRODUCTS = 30  # that are timed with each dtype
FASTER = 0.8  # of the time in float32 at most, for mixed precision to gain

# Its name in transformers 5.23, or else its older one, which that warns of.
_CHECKPOINTING = next(
    each.name
    for each in fields(TrainingArguments)
    if each.name in ("activation_checkpointing", "gradient_checkpointing")
)


def training_arguments(
    stage: Stage, checkpoints: Path, seed: int, *, epochs: float, report_to: Sequence[str] = ()
) -> TrainingArguments:
    """The arguments of the Trainer, with its checkpoints in `checkpoints`.

    Raises:
        KitError: the Trainer refuses what the stage gives it.
    """
    try:
        return _arguments(stage, checkpoints, seed, epochs, report_to)
    except (ValueError, ImportError) as error:
        raise KitError(f"the Trainer refuses the stage's settings: {first_line(error)}") from error


def check_settings(stage: Stage) -> None:
    """Check what a stage tells the Trainer beyond the kit's own keys.

    Raises:
        KitError: the Trainer refuses it, or its optimizer is of a package that is not installed.
    """
    if stage.trainer or stage.optimizer:
        undecided = stage.model_copy(update={"bf16": stage.bf16 is True})  # ``auto`` is decided when the stage begins
        arguments = training_arguments(undecided, Path("checkpoints"), 0, epochs=1)
        try:
            Trainer.get_optimizer_cls_and_kwargs(arguments)
        except (ValueError, ImportError, RuntimeError) as error:
            raise KitError(f"optimizer {stage.optimizer}: {first_line(error)}") from error


def check_reporting(report_to: Sequence[str]) -> None:
    """Check that the packages to report to are installed.

    Raises:
        KitError: what shall be reported to is not installed.
    """
    for package in report_to:
        if importlib.util.find_spec(package) is None:
            raise KitError(f"report_to: {package} is not installed; pip install {package}, or take it out")


def _arguments(
    stage: Stage, checkpoints: Path, seed: int, epochs: float, report_to: Sequence[str]
) -> TrainingArguments:
    settings = {
        _CHECKPOINTING: stage.gradient_checkpointing,
        "dataloader_pin_memory": torch.accelerator.is_available(),
        "use_cpu": not torch.accelerator.is_available(),
        **({"optim": stage.optimizer} if stage.optimizer else {}),
        **_validation(stage),
        **checked_arguments(stage.trainer or {}),
    }
    return TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=epochs,
        max_steps=stage.max_steps,
        per_device_train_batch_size=stage.batch_size,
        gradient_accumulation_steps=stage.gradient_accumulation,
        learning_rate=stage.learning_rate,
        weight_decay=stage.weight_decay,
        warmup_steps=stage.warmup_ratio if stage.warmup_steps is None else stage.warmup_steps,
        lr_scheduler_type=stage.schedule,
        max_grad_norm=stage.max_grad_norm,
        bf16=_bf16(stage, checkpoints),
        torch_compile=stage.torch_compile,
        neftune_noise_alpha=stage.neftune_alpha,
        logging_steps=stage.logging_steps,
        save_steps=stage.save_steps,
        save_total_limit=KEPT,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        dataloader_num_workers=stage.workers,
        seed=seed,
        report_to=list(report_to),
        remove_unused_columns=False,
        label_names=["labels"],
        **settings,
    )


def _validation(stage: Stage) -> dict[str, Any]:
    """How often held-out rows are judged, and which of their figures selects the best weights."""
    how = stage.validation
    if how is None:
        return {}
    return {
        "eval_strategy": "steps",
        "eval_steps": how.every_steps,
        "metric_for_best_model": LOSS if how.scorer is None else SCORE,
        "greater_is_better": not how.lower_is_better,
    }


def _bf16(stage: Stage, checkpoints: Path) -> bool:
    """Whether the stage trains in mixed precision; with ``auto``, where that is fast on what the Trainer will use."""
    return decided(checkpoints, "bf16", _bf16_is_fast) if stage.bf16 == "auto" else stage.bf16


def _bf16_is_fast() -> bool:
    """Whether products in bfloat16 take less time than in float32.

    An accelerator says so itself. Processors have instructions for it and may still be slower by them, so a product of
    the size of a small LLM's is timed. Mixed precision also converts, so the gain must be clear.
    """
    if torch.accelerator.is_available():
        return not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False)
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    half, full = _product_seconds(torch.bfloat16, torch.float32)
    return half < FASTER * full


def _product_seconds(*dtypes: torch.dtype) -> list[float]:
    """For each, the least time of many products of (512, 576) and (576, 1536).

    They take turns: where other programs use the processor, too, one dtype alone would meet them.
    """
    factors = [(torch.ones(512, 576, dtype=dtype), torch.ones(1536, 576, dtype=dtype)) for dtype in dtypes]
    times: list[list[float]] = [[] for _ in dtypes]
    for _ in range(PRODUCTS):
        for (rows, weight), spent in zip(factors, times, strict=True):
            start = time.perf_counter()
            torch.nn.functional.linear(rows, weight)
            spent.append(time.perf_counter() - start)
    return list(map(min, times))
