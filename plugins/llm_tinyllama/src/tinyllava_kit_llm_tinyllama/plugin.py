"""What this distribution offers: the language model `llama`."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.specs import LanguageModelSpec

LLAMA = LanguageModelSpec(
    name="llama",
    target="tinyllava_kit_llm_tinyllama.llm:LlamaLanguageModel",
    summary="TinyLlama, SmolLM2 and other checkpoints of the Llama architecture",
    model_types=("llama",),
    checkpoint="TinyLlama/TinyLlama-1.1B-Chat-v1.0",
)


@hookimpl
def tinyllava_llms() -> tuple[LanguageModelSpec, ...]:
    """Llama, and so TinyLlama."""
    return (LLAMA,)
