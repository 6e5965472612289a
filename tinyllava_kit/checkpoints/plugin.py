"""The layouts of other projects' checkpoints that the kit reads."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.plugin.specs import CheckpointSpec


@hookimpl
def tinyllava_checkpoints() -> list[CheckpointSpec]:
    """TinyLLaVA_Factory's, those of the code before it, and transformers' Llava."""
    here = "tinyllava_kit.checkpoints.external"
    return [
        CheckpointSpec(
            name="factory",
            target=f"{here}.factory:FactoryReader",
            project="TinyLLaVA_Factory",
            summary="one directory, a directory for each part, LoRA",
            model_types=("tinyllava",),
            keys=("connector_type",),
        ),
        CheckpointSpec(
            name="llava_legacy",
            target=f"{here}.legacy:LegacyReader",
            project="LLaVA-1.5 or TinyLLaVABench",
            summary="an LLM of transformers with mm_projector and vision_tower among its weights",
            keys=("mm_vision_tower",),
        ),
        CheckpointSpec(
            name="llava_hf",
            target=f"{here}.llava:LlavaReader",
            project="transformers",
            summary="LlavaForConditionalGeneration",
            model_types=("llava",),
            keys=("vision_config",),
        ),
    ]
