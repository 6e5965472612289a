"""What the examples with TRL share: their command line, the model, the clock, and what they leave."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, TrainerCallback

import tinyllava_kit as tinyllava_kit  # the Auto classes know its models


def arguments(about: str | None, words: Sequence[str] | None, *, batch: int = 8) -> argparse.Namespace:
    """The command line; `common` is what every trainer's configuration takes of it."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("model", help="a model directory of this kit")
    parser.add_argument("output", help="the directory that the trained model is written to")
    parser.add_argument("data", nargs="+", help="files of rows with a picture and a question")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training")
    parser.add_argument("--steps", type=int, default=100_000, help="at most")
    parser.add_argument("--batch", type=int, default=batch, help="rows of a step; of GRPO, answers")
    parser.add_argument("--rate", type=float, default=1e-5, help="the learning rate")
    parser.add_argument("--limit", type=int, default=4000, help="rows that are used")
    parser.add_argument("--bf16", action="store_true", help="mixed precision; on GPUs it is taken anyway")
    given = parser.parse_args(words)
    given.common = {
        "max_steps": given.steps,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "lr_scheduler_type": "constant_with_warmup",  # the clock ends the run
        "warmup_steps": 5,
        "disable_tqdm": True,
        "bf16": given.bf16 or torch.cuda.is_available(),
        "use_cpu": not torch.cuda.is_available(),
    }
    return given


def opened(given: argparse.Namespace) -> tuple[Any, Any]:
    """The model, its towers frozen, and its processor."""
    model = AutoModelForImageTextToText.from_pretrained(given.model, trust_remote_code=False)
    model.towers.requires_grad_(False)
    return model, AutoProcessor.from_pretrained(given.model, trust_remote_code=False)


class _Minutes(TrainerCallback):
    """Ends training after so many minutes."""

    def __init__(self, minutes: float) -> None:
        self.seconds = minutes * 60

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.end = time.monotonic() + self.seconds

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = control.should_training_stop or time.monotonic() > self.end


def train(trainer: Any, given: argparse.Namespace, *, figure: str) -> list[float]:
    """Train, and write model, processor and ``curve.json``; the curve of one logged figure, printed as fifths."""
    trainer.add_callback(_Minutes(given.minutes))
    trainer.train()
    trainer.save_model(given.output)
    curve = [entry[figure] for entry in trainer.state.log_history if figure in entry]
    Path(given.output, "curve.json").write_text(json.dumps({figure: curve}), encoding="utf-8")
    print(f"{figure} in {len(curve)} steps, means of fifths: {' '.join(f'{mean:.3f}' for mean in fifths(curve))}")
    print(f"the model is in {given.output}")
    return curve


def fifths(curve: Sequence[float]) -> list[float]:
    """The means of five equal parts of a curve, in order; of fewer steps, each step.

    Example:
        >>> fifths([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
        [0.5, 2.5, 4.5, 6.5, 8.5]
    """
    parts = min(5, len(curve))
    cuts = [len(curve) * number // parts for number in range(parts + 1)]
    return [sum(curve[low:high]) / (high - low) for low, high in pairwise(cuts)]
