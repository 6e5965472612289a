"""One line that says how a stage is getting on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TextIO

from transformers import TrainerCallback, TrainerControl, TrainerState

from ...files.printable import one_line
from .clock import Clock


class Progress(TrainerCallback):
    """Writes a line at each log; on a terminal, over the last one.

    Args:
        name: of the stage.
        clock: of the stage; a callback that stands in front of this one.
    """

    def __init__(self, name: str, clock: Clock, out: TextIO | None = None) -> None:
        self.name, self.clock, self.out = name, clock, out or sys.stdout

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs:
            return
        if any(key.startswith("eval_") for key in logs):
            self._write(validation_line(self.name, state.global_step, state.max_steps, logs), stays=True)
        elif logs.keys() & {"loss", "learning_rate"}:  # not the summary at the end
            seconds = self.clock.seconds_left(state)
            self._write(progress_line(self.name, state.global_step, state.max_steps, logs, seconds))

    def _write(self, line: str, *, stays: bool = False) -> None:
        """A line; on a terminal over the last one, which it leaves where it `stays`."""
        on_terminal = self.out.isatty()
        self.out.write(
            ("\r\033[K" if on_terminal else "") + one_line(line) + ("\n" if stays or not on_terminal else "")
        )
        self.out.flush()

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero and self.out.isatty():
            self.out.write("\n")


def validation_line(name: str, step: int, steps: int, logs: Mapping[str, float]) -> str:
    """A line of what held-out rows said.

    Example:
        >>> validation_line("align", 20, 480, {"eval_loss": 0.412, "eval_accuracy": 0.87, "eval_score": 0.87})
        'align 20/480  held-out rows: loss 0.412, accuracy 0.87'
    """
    kept = (key for key in logs if key.startswith("eval_") and key != "eval_score")
    figures = {key.removeprefix("eval_"): logs[key] for key in kept}
    return f"{name} {step}/{steps}  held-out rows: " + ", ".join(f"{key} {v:.4g}" for key, v in figures.items())


def progress_line(name: str, step: int, steps: int, logs: Mapping[str, float], seconds: float) -> str:
    """A line of what was logged.

    Example:
        >>> progress_line("align", 20, 480, {"loss": 0.412, "loss_image": 0.38, "loss_text": 0.51, "fill": 0.97}, 192)
        'align 20/480  loss 0.412 (image 0.38, text 0.51)  fill 97 %  0:03:12 left'
    """
    kinds = ", ".join(f"{key.removeprefix('loss_')} {logs[key]:.3g}" for key in logs if key.startswith("loss_"))
    loss = f"loss {logs['loss']:.4g}" if "loss" in logs else "nothing to learn"
    words = [f"{name} {step}/{steps}", loss + (f" ({kinds})" if kinds else "")]
    if "tokens_per_second" in logs:
        words.append(f"{logs['tokens_per_second']:.0f} tokens/s")
    if "fill" in logs:
        words.append(f"fill {logs['fill']:.0%}".replace("%", " %"))
    return "  ".join([*words, f"{timedelta(seconds=round(seconds))} left"])
