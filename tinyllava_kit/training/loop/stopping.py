"""A run that gets SIGTERM or SIGINT writes a checkpoint at the end of its step, and ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from ...distributed import any_rank, rank

SIGNALS = (signal.SIGTERM, signal.SIGINT)  # Slurm and `docker stop` send the one, a terminal the other


class StoppedError(Exception):
    """A signal has ended a run; `code` is the exit code of a process that this signal ends."""

    def __init__(self, step: int, number: int) -> None:
        super().__init__(f"stopped at step {step}; the same command resumes from step {step}")
        self.code = 128 + number


class Stopper(TrainerCallback):
    """Ends training behind the step in which a signal came, with a checkpoint; a second signal ends the process.

    All processes of a run end after the same step when one of them gets a signal.
    """

    def __init__(self) -> None:
        self.number = 0  # of the signal that came; 0: none
        self.has_stopped = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals while the block runs."""
        if threading.current_thread() is not threading.main_thread():  # Python gives signals to that one alone
            yield
            return
        before = {each: signal.getsignal(each) for each in SIGNALS}
        owner = os.getpid()

        def note(number: int, frame: FrameType | None) -> None:
            self.number = number
            for each in SIGNALS:
                signal.signal(each, signal.SIG_DFL if each == signal.SIGTERM else signal.default_int_handler)
            if os.getpid() == owner and rank() == 0:  # processes that read data get the signal, too, and ignore it
                os.write(2, b"stopping at the end of this step; once more ends at once\n")

        for each in SIGNALS:
            signal.signal(each, note)
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, signal.SIG_DFL if handler is None else handler)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.number = any_rank(self.number, args.device)
        if self.number and state.global_step < state.max_steps:
            self.has_stopped = True
            control.should_save = control.should_training_stop = True

    def check(self, step: int) -> None:
        """Check that no signal has ended the training.

        Raises:
            StoppedError: training has ended at this step because a signal came.
        """
        if self.has_stopped:
            raise StoppedError(step, self.number)
