"""How many tokens a request took, by modality: exactly, as the prompt was laid out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..core.spans import ItemSpan, TextSpan
from ..processing.encoded import Encoded
from .engine import AnswerCount


def prompt_tokens(prompt: Encoded) -> dict[str, int]:
    """The tokens of a prompt: ``text``, and each modality's."""
    counts: Counter[str] = Counter(text=0)
    for span in prompt.spans:
        if isinstance(span, TextSpan):
            counts["text"] += len(span.ids)
        elif isinstance(span, ItemSpan):
            counts[span.modality] += span.num_tokens
    return dict(counts)


def usage_of(prompt: Encoded, answers: Sequence[AnswerCount]) -> dict[str, Any]:
    """The ``usage`` of chat: totals, and ``MODALITY_tokens`` of every modality that is there."""
    asked = prompt_tokens(prompt)
    by_modality: Counter[str] = Counter()
    for answer in answers:
        by_modality.update(answer.by_modality)
    written = sum(answer.tokens for answer in answers)
    said = {"text": written - sum(by_modality.values()), **by_modality}
    return {
        "prompt_tokens": sum(asked.values()),
        "completion_tokens": written,
        "total_tokens": sum(asked.values()) + written,
        "prompt_tokens_details": {f"{modality}_tokens": count for modality, count in asked.items()},
        "completion_tokens_details": {f"{modality}_tokens": count for modality, count in said.items()},
    }
