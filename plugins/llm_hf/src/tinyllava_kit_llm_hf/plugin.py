"""What this distribution offers: the language models `phi`, `qwen2`, `qwen3`, `gemma`, `stablelm` and `causal_lm`."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.specs import LanguageModelSpec

_FAMILIES = "tinyllava_kit_llm_hf.llm"

PHI = LanguageModelSpec(
    name="phi",
    target=f"{_FAMILIES}:PhiLanguageModel",
    summary="Phi-1, Phi-1.5 and Phi-2",
    model_types=("phi",),
    checkpoint="microsoft/phi-2",
)
QWEN2 = LanguageModelSpec(
    name="qwen2",
    target=f"{_FAMILIES}:Qwen2LanguageModel",
    summary="Qwen2 and Qwen2.5",
    model_types=("qwen2",),
    checkpoint="Qwen/Qwen2.5-0.5B-Instruct",
)
QWEN3 = LanguageModelSpec(
    name="qwen3",
    target=f"{_FAMILIES}:Qwen3LanguageModel",
    summary="Qwen3, dense",
    model_types=("qwen3",),
    checkpoint="Qwen/Qwen3-0.6B",
)
GEMMA = LanguageModelSpec(
    name="gemma",
    target=f"{_FAMILIES}:GemmaLanguageModel",
    summary="Gemma 1",
    model_types=("gemma",),
    checkpoint="google/gemma-2b-it",
)
STABLELM = LanguageModelSpec(
    name="stablelm",
    target=f"{_FAMILIES}:StableLmLanguageModel",
    summary="StableLM 3B and StableLM 2",
    model_types=("stablelm",),
    checkpoint="stabilityai/stablelm-2-zephyr-1_6b",
)
CAUSAL_LM = LanguageModelSpec(
    name="causal_lm",
    target="tinyllava_kit_llm_hf.causal_lm:CausalLanguageModel",
    contract="tinyllava_kit_llm_hf.contract:CausalContract",
    summary="any causal language model of transformers, tried out before it is taken",
)


@hookimpl
def tinyllava_llms() -> tuple[LanguageModelSpec, ...]:
    """Families of LLMs by name, and any other causal language model of transformers."""
    return (PHI, QWEN2, QWEN3, GEMMA, STABLELM, CAUSAL_LM)
