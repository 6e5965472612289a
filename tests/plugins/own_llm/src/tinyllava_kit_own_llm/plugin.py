"""What this distribution offers: the LLM `thrifty`."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.specs import LanguageModelSpec

THRIFTY = LanguageModelSpec(
    name="thrifty",
    target="tinyllava_kit_own_llm.llm:ThriftyLanguageModel",
    summary="a causal language model that transformers does not know",
    model_types=("thrifty",),
)


@hookimpl
def tinyllava_llms() -> tuple[LanguageModelSpec, ...]:
    return (THRIFTY,)
