"""The learning rate of a stage that time may end: it decays with the time, where the steps are slower."""

from __future__ import annotations

from collections.abc import Callable

from torch.optim.lr_scheduler import LambdaLR

from .clock import Clock

_Factor = Callable[..., float]  # a number of steps, or a part of one -> what the learning rate is multiplied by


def follow_clock(schedule: LambdaLR, clock: Clock, *, warmup: int, steps: int) -> None:
    """Let a schedule of `steps` go by the share of the steps or of the minutes that has gone, whichever is larger.

    So a slow machine, too, ends at the schedule's end. The first `warmup` steps go by their number.
    """

    def followed(factor: _Factor) -> _Factor:
        return lambda step: factor(step if step < warmup else max(step, clock.share_gone * steps))

    schedule.lr_lambdas = [followed(factor) for factor in schedule.lr_lambdas]
