"""The contract of a scorer that the kit ships and that needs categories of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .scorers import AnsweredRow, ScorerContract, yes_or_no


class MmeContract(ScorerContract):
    """MME sums subtasks of perception by their names."""

    def rows(self) -> Sequence[AnsweredRow]:
        """Of one subtask."""
        return [(replace(question, category="existence"), good, bad) for question, good, bad in yes_or_no()]
