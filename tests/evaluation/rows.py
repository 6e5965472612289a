"""Answers beside what is right, and figures that other programs made of the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinyllava_kit.core.conversation import Conversation, Turn
from tinyllava_kit.evaluation.figures import Figure
from tinyllava_kit.evaluation.judged import Judged
from tinyllava_kit.evaluation.question import Question

GOLDEN = Path(__file__).parents[1] / "golden" / "evaluation"


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def judged(*pairs: tuple[str, str], **more: Any) -> list[Judged]:
    """Of what is right and what was said, each."""
    return [Judged(str(n), "?", (truth,), said, **more) for n, (truth, said) in enumerate(pairs)]


def values(figures: Mapping[str, Figure]) -> dict[str, float]:
    return {name: figure.value for name, figure in figures.items()}


def question(*truths: str, choices: tuple[str, ...] = ()) -> Question:
    conversation = Conversation((Turn("user", "?"),), (), "rows.json[3] 'x'")
    return Question(id="x", conversation=conversation, truths=truths, choices=choices)
