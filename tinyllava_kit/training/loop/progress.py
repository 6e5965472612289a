"""How a stage is getting on: a line when it starts, a bar on a terminal, elsewhere a line at each log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TextIO

from transformers import TrainerCallback, TrainerControl, TrainerState

from ...files.printable import one_line
from ...terminal.counting import BAR_SECONDS, bar_of
from .clock import Clock


class Progress(TrainerCallback):
    """Writes a line at each log; on a terminal, a bar with the last figures and the time left.

    Args:
        name: of the stage.
        clock: of the stage; a callback that runs before this one.
        about: the stage in words, said when it starts, see `fitting.about`.
    """

    def __init__(self, name: str, clock: Clock, out: TextIO | None = None, about: str = "") -> None:
        self.name, self.clock, self.out, self.about = one_line(name), clock, out or sys.stdout, about
        self.bar: Any = None
        self.shown = 0.0  # when the bar was drawn

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        products = ", products in bfloat16" if args.bf16 else ""
        self._write(f"stage {self.name}: {state.max_steps:,} steps{self.about}{products}")
        if state.global_step:
            self._write(f"stage {self.name}: resumes from step {state.global_step} of {state.max_steps}")
        if self.out.isatty():
            self._start_bar(state)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.bar is not None and time.monotonic() - self.shown > BAR_SECONDS:
            self._draw(state)

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
            self._write(validation_line(self.name, state.global_step, state.max_steps, logs))
        elif logs.keys() & {"loss", "learning_rate"}:  # not the summary at the end
            if self.bar is not None:
                self._draw(state, one_line(figures_line(logs)))
            else:
                seconds = self.clock.seconds_left(state)
                self._write(progress_line(self.name, state.global_step, state.max_steps, logs, seconds))

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.bar is not None:
            self._draw(state)
        self.close()

    def close(self) -> None:
        """Leaves the terminal as it was, the bar's last state above."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _start_bar(self, state: TrainerState) -> None:
        from rich.progress import MofNCompleteColumn, TextColumn

        texts = [TextColumn(f"{{task.fields[{field}]}}", markup=False) for field in ("figures", "left")]
        self.bar = bar_of([MofNCompleteColumn(), *texts], self.out)
        self.bar.start()
        self.task = self.bar.add_task(self.name, total=state.max_steps, figures="", left="")
        self._draw(state)

    def _draw(self, state: TrainerState, figures: str | None = None) -> None:
        fields = {} if figures is None else {"figures": figures}
        left = f"{timedelta(seconds=round(self.clock.seconds_left(state)))} left"
        self.bar.update(self.task, completed=state.global_step, left=left, **fields)
        self.bar.refresh()
        self.shown = time.monotonic()

    def _write(self, line: str) -> None:
        """A line that stays; above the bar, where there is one."""
        if self.bar is not None:
            self.bar.console.print(one_line(line), soft_wrap=True)
        else:
            self.out.write(one_line(line) + "\n")
            self.out.flush()


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
    return f"{name} {step}/{steps}  {figures_line(logs)}  {timedelta(seconds=round(seconds))} left"


def figures_line(logs: Mapping[str, float]) -> str:
    """The losses, by kind of sample and by group of ids, and how fast it goes.

    Example:
        >>> figures_line({"loss": 2.5, "ids_loss_audio": 3.1, "ids_right_audio": 0.2, "ids_loss_text": 0.4})
        'loss 2.5  ids: audio 3.1, text 0.4'
    """
    kinds, groups = (
        ", ".join(f"{key.removeprefix(start)} {logs[key]:.3g}" for key in logs if key.startswith(start))
        for start in ("loss_", "ids_loss_")
    )
    loss = f"loss {logs['loss']:.4g}" if "loss" in logs else "nothing to learn"
    words = [loss + (f" ({kinds})" if kinds else ""), *([f"ids: {groups}"] if groups else [])]
    if "tokens_per_second" in logs:
        words.append(f"{logs['tokens_per_second']:.0f} tokens/s")
    if "fill" in logs:
        words.append(f"fill {logs['fill']:.0%}".replace("%", " %"))
    return "  ".join(words)
