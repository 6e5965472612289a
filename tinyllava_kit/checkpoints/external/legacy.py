"""Checkpoints of the code before TinyLLaVA_Factory: TinyLLaVABench's and LLaVA-1.5's, one layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import KitError
from .external_checkpoint import ExternalCheckpoint, KeyedTensor, Weights, row_scale_in_transformers_4
from .names import Names
from .reader import CheckpointReader
from .weights import open_weights

# What the class's name in `architectures` holds -> the LLM's model type. The longer names first.
_LLMS = {
    "StableLM": "stablelm",
    "Mistral": "mistral",
    "Gemma": "gemma",
    "Qwen2": "qwen2",
    "Phi": "phi",
    "Llama": "llama",
}
_TOWER, _JOINT = "model.vision_tower.vision_tower.", "model.mm_projector."
_LLM = ("model.", "lm_head.")
# Of the wrapper around the LLM, not of the LLM.
_NOT_TEXT = (
    "mm_",
    "tune_",
    "tokenizer_",
    "freeze_",
    "use_mm_proj",
    "image_",
    "architectures",
    "model_type",
    "unfreeze_",
)


class LegacyReader(CheckpointReader):
    """Its `CheckpointReader`."""

    def read(self, directory: Path, config: Mapping[str, Any], names: Names) -> ExternalCheckpoint:
        return _read(directory, config, names)


def _read(directory: Path, config: Mapping[str, Any], names: Names) -> ExternalCheckpoint:
    """Read a checkpoint of LLaVA-1.5's original code, or of TinyLLaVA's first one.

    Raises:
        KitError: an LLM or an option that is not known; damaged weights.
    """
    if config.get("mm_patch_merge_type", "flat") not in ("flat", None):
        found = f"mm_patch_merge_type {config['mm_patch_merge_type']!r} (LLaVA-1.6's tiles)"
        raise KitError(f"{directory / 'config.json'}: {found} is not read; 'flat' is")
    if config.get("mm_use_im_start_end"):
        raise KitError(f"{directory / 'config.json'}: mm_use_im_start_end adds tokens that are not read")
    text_type = _llm_type(directory, config)
    llm: Weights = {}
    tower: Weights = {}
    joint: Weights = {}
    unexpected_keys = []
    for key, tensor in open_weights(directory).items():
        if key.startswith(_TOWER):
            tower[key.removeprefix(_TOWER)] = KeyedTensor(key, tensor)
        elif key.startswith(_JOINT):
            joint[key.removeprefix(_JOINT)] = KeyedTensor(key, tensor)
        elif key.startswith(_LLM):
            llm[key] = KeyedTensor(key, tensor)
        else:
            unexpected_keys.append(key)
    text = {key: value for key, value in config.items() if not key.startswith(_NOT_TEXT)}
    text["model_type"] = text_type
    return ExternalCheckpoint(
        layout="LLaVA or TinyLLaVABench",
        directory=directory,
        text_config=text,
        vision_config=names.vision_config(config["mm_vision_tower"]),
        layer=config.get("mm_vision_select_layer", -2),
        dropped=None if config.get("mm_vision_select_feature", "patch") == "patch" else 0,
        connector=config.get("mm_projector_type", "linear"),
        aspect=config.get("image_aspect_ratio") or "square",
        vision_names=(config["mm_vision_tower"],),
        llm=llm,
        tower=tower,
        joint=joint,
        row_scale=row_scale_in_transformers_4(text),
        unexpected_keys=tuple(unexpected_keys),
    )


def _llm_type(directory: Path, config: Mapping[str, Any]) -> str:
    architecture = " ".join(config.get("architectures") or [config.get("model_type", "")])
    for name, model_type in _LLMS.items():
        if name.lower() in architecture.lower():
            return model_type
    raise KitError(f"{directory / 'config.json'}: no LLM is known for {architecture!r}; known are {', '.join(_LLMS)}")
