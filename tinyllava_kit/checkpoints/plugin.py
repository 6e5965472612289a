"""The layouts of other projects' checkpoints that the kit reads, and the forms that it writes."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.plugin.specs import CheckpointSpec, ExportSpec, Option


@hookimpl
def tinyllava_checkpoints() -> list[CheckpointSpec]:
    """TinyLLaVA_Factory's, those of the code before it, and transformers' Llava."""
    here, checked = "tinyllava_kit.checkpoints.external", "tinyllava_kit.testing.own_layouts"
    return [
        CheckpointSpec(
            name="factory",
            target=f"{here}.factory:FactoryReader",
            project="TinyLLaVA_Factory",
            summary="one directory, a directory for each part, LoRA",
            model_types=("tinyllava",),
            keys=("connector_type",),
            contract=f"{checked}:FactoryLayoutContract",
        ),
        CheckpointSpec(
            name="llava_legacy",
            target=f"{here}.legacy:LegacyReader",
            project="LLaVA-1.5 or TinyLLaVABench",
            summary="an LLM of transformers with mm_projector and vision_tower among its weights",
            keys=("mm_vision_tower",),
            contract=f"{checked}:LegacyLayoutContract",
        ),
        CheckpointSpec(
            name="llava_hf",
            target=f"{here}.llava:LlavaReader",
            project="transformers",
            summary="LlavaForConditionalGeneration",
            model_types=("llava",),
            keys=("vision_config",),
            contract=f"{checked}:LlavaLayoutContract",
        ),
    ]


@hookimpl
def tinyllava_exports() -> list[ExportSpec]:
    """transformers' Llava, a directory for each part, and llama.cpp's files."""
    here, checked = "tinyllava_kit.checkpoints.exporting", "tinyllava_kit.testing.own_exports"
    dtype = Option(
        name="dtype",
        choices=("float32", "float16"),
        help="of matrices; none: float32 for a model in float32, else float16",
    )
    llm_only = Option(name="llm_only", type=bool, default=False, help="without the tower and the connector")
    return [
        ExportSpec(
            name="hf-llava",
            target=f"{here}.llava:LlavaTarget",
            summary="transformers' LlavaForConditionalGeneration, which other engines serve",
            contract=f"{checked}:LlavaContract",
        ),
        ExportSpec(
            name="hf-components",
            target=f"{here}.components:ComponentsTarget",
            summary="a directory for each part, loaded by transformers' own classes",
            contract=f"{checked}:ComponentsContract",
        ),
        ExportSpec(
            name="gguf",
            target=f"{here}.gguf_files:GgufTarget",
            summary="model.gguf and mmproj.gguf for llama.cpp",
            options=(dtype, llm_only),
            packages=("gguf",),
            contract=f"{checked}:GgufContract",
        ),
    ]
