"""How long a stage has trained."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_callback import ExportableState

from ...distributed import from_first


class Clock(TrainerCallback, ExportableState):
    """How long a stage has trained, before an interruption included; stops it after so many `minutes`, where given.

    `share_gone`: of the minutes, at the last step; the same in all processes, and 0 without a limit.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self.minutes, self.start = minutes, time.monotonic()
        self.share_gone = 0.0
        self.before, self.first = 0.0, 0  # seconds and steps of the runs that this one resumes

    @property
    def seconds(self) -> float:
        """Of training so far."""
        return time.monotonic() - self.start

    def seconds_left(self, state: TrainerState) -> float:
        """Until the last step or the limit, whichever comes first, at the speed of this run."""
        a_step = (self.seconds - self.before) / max(state.global_step - self.first, 1)
        left = a_step * (state.max_steps - state.global_step)
        return left if self.minutes is None else min(left, max(self.minutes * 60 - self.seconds, 0.0))

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        callbacks: Any = state.stateful_callbacks  # said to be a list, and is a dict
        kept = callbacks.get(type(self).__name__, {}).get("attributes", {})
        self.before, self.first = kept.get("seconds", 0.0), state.global_step
        self.start = time.monotonic() - self.before
        self._measure()

    def on_optimizer_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._measure()  # before the Trainer asks for the next rate

    def _measure(self) -> None:
        if self.minutes is not None:
            self.share_gone = min(from_first(self.seconds) / (self.minutes * 60), 1.0)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.share_gone >= 1:
            control.should_training_stop = True

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"args": {"minutes": self.minutes}, "attributes": {"seconds": self.seconds}}
