"""A stage of a recipe as the Trainer's arguments."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from ...errors import KitError
from ...files.failures import first_line
from ..output.checkpoints import KEPT
from ..recipe import Stage
from ..trainer_settings import checked_arguments
from .validation import LOSS, SCORE

# Its name in transformers 5.23, or else its older one, which that warns of.
_CHECKPOINTING = next(
    each.name
    for each in fields(TrainingArguments)
    if each.name in ("activation_checkpointing", "gradient_checkpointing")
)


def training_arguments(
    stage: Stage, checkpoints: Path, seed: int, *, epochs: float, report_to: Sequence[str] = ()
) -> TrainingArguments:
    """What the Trainer wants to know, its checkpoints in `checkpoints`.

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
        arguments = training_arguments(stage, Path("checkpoints"), 0, epochs=1)
        try:
            Trainer.get_optimizer_cls_and_kwargs(arguments)
        except (ValueError, ImportError, RuntimeError) as error:
            raise KitError(f"optimizer {stage.optimizer}: {first_line(error)}") from error


def check_reporting(report_to: Sequence[str]) -> None:
    """
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
        bf16=_has_bf16() if stage.bf16 == "auto" else stage.bf16,
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
    """How often held-out rows are judged, and which of their figures says what is best."""
    how = stage.validation
    if how is None:
        return {}
    return {
        "eval_strategy": "steps",
        "eval_steps": how.every_steps,
        "metric_for_best_model": LOSS if how.scorer is None else SCORE,
        "greater_is_better": not how.lower_is_better,
    }


def _has_bf16() -> bool:
    """Whether bfloat16 is fast on what the Trainer will use."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
