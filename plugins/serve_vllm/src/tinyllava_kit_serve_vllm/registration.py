"""What vLLM calls in each of its processes before it reads a model."""

from __future__ import annotations

ARCHITECTURE = "TinyLlavaForConditionalGeneration"


def register() -> None:
    """Tell vLLM which class runs models of this kit, and transformers how their configuration is read.

    It may be called any number of times; vLLM imports the class when a model of the kit is served.
    """
    from vllm import ModelRegistry

    import tinyllava_kit  # noqa: F401  # registers its configuration where transformers is imported

    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(ARCHITECTURE, f"{__package__}.model:ServedTinyLlava")
