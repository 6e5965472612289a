"""An answer of a model, with the right ones. Light."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Judged:
    """One row: its name, the last question, the right answers, the model's answer.

    `truths`: one text, several that people gave, or none where nobody says; with `choices`, the right one's letter.
    """

    id: str | int
    question: str
    truths: tuple[str, ...]
    said: str
    choices: tuple[str, ...] = ()
    category: str = ""

    @property
    def truth(self) -> str:
        """The first of `truths`."""
        return self.truths[0] if self.truths else ""
