"""The record of a stage that is saved, and may be published, with its model."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer

from ...files.origins import word_of
from ..recipe import Stage
from .recorded_settings import recorded


@dataclass(frozen=True, kw_only=True)
class TrainedPart:
    """A part that learned: how, how many of its `parameters` did, at which rate."""

    name: str
    mode: str
    parameters: int
    trained: int
    learning_rate: float
    weight_decay: float


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """A stage that is done.

    `settings`: all that its outcome depends on. `recipe`: the same as one writes it, without defaults. `samples`: of an
    epoch; None: of a stream. `loss`: the last that was logged; None: there was nothing to learn.
    """

    name: str
    command: str
    settings: Mapping[str, Any]
    recipe: Mapping[str, Any]
    parts: tuple[TrainedPart, ...]
    samples: int | None
    skipped: int
    steps: int
    seconds: float
    device: str
    loss: float | None


def stage_record(
    stage: Stage,
    settings: Mapping[str, Any],
    trained: Mapping[str, nn.Module],
    trainer: Trainer,
    *,
    seconds: float,
    samples: int,
    skipped: int,
) -> StageRecord:
    """The record of a stage that is done, with its parts as trained; `samples` is 0 for a stream."""
    log = trainer.state.log_history
    return StageRecord(
        name=stage.name,
        command=_command_line(),
        settings=recorded(settings),
        recipe=recorded(stage.model_dump(mode="json", exclude_defaults=True)),
        parts=tuple(_trained_part(name, part, stage) for name, part in trained.items()),
        samples=samples or None,
        skipped=skipped,
        steps=trainer.state.global_step,
        seconds=seconds,
        device=device_name(trainer.args.device),
        loss=next((entry["loss"] for entry in reversed(log) if "loss" in entry), None),
    )


def _trained_part(name: str, module: nn.Module, stage: Stage) -> TrainedPart:
    """The record of a part, as it is trained."""
    how = stage.train[name]
    return TrainedPart(
        name=name,
        mode=how.mode,
        parameters=_count(p for p_name, p in module.named_parameters() if "lora_" not in p_name),
        trained=_count(p for p in module.parameters() if p.requires_grad),
        learning_rate=how.learning_rate or stage.learning_rate,
        weight_decay=stage.weight_decay if how.weight_decay is None else how.weight_decay,
    )


def _command_line() -> str:
    """How this process was started, as one would type it."""
    program = Path(sys.argv[0]).name
    return shlex.join(["tinyllava" if program == "__main__.py" else program, *map(word_of, sys.argv[1:])])


def device_name(device: torch.device) -> str:
    """What a stage ran on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{os.cpu_count()} cores of {platform.machine()}" if device.type == "cpu" else device.type


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)
