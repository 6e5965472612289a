"""Training: a recipe's stages, run through transformers' Trainer. The names here are public."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .objectives.objective import Lesson as Lesson
    from .objectives.objective import Objective as Objective
    from .output.curves import log_charts as log_charts

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Lesson": ".objectives.objective",
        "Objective": ".objectives.objective",
        "log_charts": ".output.curves",
    },
)
