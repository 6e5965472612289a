"""One line that says how a stage is getting on."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TextIO

from transformers import TrainerCallback, TrainerControl, TrainerState


class Progress(TrainerCallback):
    """Writes a line at each log; on a terminal, over the last one.

    Args:
        name: of the stage.
        minutes: after which the stage stops, where it has a limit.
    """

    def __init__(self, name: str, minutes: float | None = None, out: TextIO | None = None) -> None:
        self.name, self.minutes = name, minutes
        self.out = out or sys.stdout
        self.start, self.first = 0.0, 0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.start, self.first = time.monotonic(), state.global_step

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs or "loss" not in logs:
            return
        line = progress_line(self.name, state.global_step, state.max_steps, logs, self._seconds_left(state))
        self.out.write(f"\r\033[K{line}" if self.out.isatty() else f"{line}\n")
        self.out.flush()

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero and self.out.isatty():
            self.out.write("\n")

    def _seconds_left(self, state: TrainerState) -> float:
        spent = time.monotonic() - self.start
        left = spent / max(state.global_step - self.first, 1) * (state.max_steps - state.global_step)
        return left if self.minutes is None else min(left, max(self.minutes * 60 - spent, 0.0))


def progress_line(name: str, step: int, steps: int, logs: Mapping[str, float], seconds: float) -> str:
    """A line of what was logged.

    Example:
        >>> progress_line("align", 20, 480, {"loss": 0.412, "loss_image": 0.38, "loss_text": 0.51, "fill": 0.97}, 192)
        'align 20/480  loss 0.412 (image 0.38, text 0.51)  fill 97 %  0:03:12 left'
    """
    kinds = ", ".join(f"{key.removeprefix('loss_')} {logs[key]:.3g}" for key in logs if key.startswith("loss_"))
    words = [f"{name} {step}/{steps}", f"loss {logs['loss']:.4g}" + (f" ({kinds})" if kinds else "")]
    if "tokens_per_second" in logs:
        words.append(f"{logs['tokens_per_second']:.0f} tokens/s")
    if "fill" in logs:
        words.append(f"fill {logs['fill']:.0%}".replace("%", " %"))
    return "  ".join([*words, f"{timedelta(seconds=round(seconds))} left"])
