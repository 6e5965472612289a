"""transformers' `LlavaForConditionalGeneration`, with its names of today and those of before transformers 4.52."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import KitError
from .external_checkpoint import ExternalCheckpoint, KeyedTensor, Weights, image_processor_of
from .names import Names
from .reader import CheckpointReader
from .weights import open_weights

# The connector's layers here and, in a Sequential with the activation between, in LLaVA.
_JOINT = {"linear_1": "0", "linear_2": "2"}
_PARTS = ("language_model.", "vision_tower.", "multi_modal_projector.")


class LlavaReader(CheckpointReader):
    """Its `CheckpointReader`."""

    def read(self, directory: Path, config: Mapping[str, Any], names: Names) -> ExternalCheckpoint:
        return _read(directory, config, names)


def _read(directory: Path, config: Mapping[str, Any], names: Names) -> ExternalCheckpoint:
    """Read a checkpoint of transformers' Llava.

    Raises:
        KitError: an option that has no counterpart here; damaged weights.
    """
    layer = config.get("vision_feature_layer", -2)
    if not isinstance(layer, int):
        raise KitError(f"{directory / 'config.json'}: vision_feature_layer {layer!r}: several layers are not read")
    for key, wanted in (("projector_hidden_act", "gelu"), ("multimodal_projector_bias", True)):
        if config.get(key, wanted) != wanted:
            raise KitError(f"{directory / 'config.json'}: {key} {config[key]!r} is not read; {wanted!r} is")
    parts: dict[str, Weights] = {prefix: {} for prefix in _PARTS}
    unexpected_keys = []
    for key, tensor in open_weights(directory).items():
        name = key.removeprefix("model.")
        prefix = next((prefix for prefix in _PARTS if name.startswith(prefix)), None)
        if prefix is not None:
            parts[prefix][_own_name(name.removeprefix(prefix), prefix, key)] = KeyedTensor(key, tensor)
        elif key.startswith("lm_head."):
            parts["language_model."][key] = KeyedTensor(key, tensor)
        else:
            unexpected_keys.append(key)
    return ExternalCheckpoint(
        layout="transformers' Llava",
        directory=directory,
        text_config=config["text_config"],
        vision_config=config["vision_config"],
        layer=layer,
        dropped={"default": 1, "full": 0}[config.get("vision_feature_select_strategy", "default")],
        connector="mlp2x_gelu",
        aspect="pad" if (image_processor_of(directory) or {}).get("do_pad") else "square",
        llm=parts["language_model."],
        tower=parts["vision_tower."],
        joint=parts["multi_modal_projector."],
        unexpected_keys=tuple(unexpected_keys),
    )


def _own_name(name: str, prefix: str, key: str) -> str:
    """The name inside the part's own class."""
    if prefix == "multi_modal_projector.":
        layer, _, kind = name.partition(".")
        return f"{_JOINT.get(layer, layer)}.{kind}"
    if prefix == "language_model." and key.startswith("model.language_model."):
        return f"model.{name}"  # today's name is that of the LLM without its head
    return name
