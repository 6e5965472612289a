"""TinyLLaVA_Factory's three layouts: one directory of transformers, one directory a part, and parts with LoRA.

Its configuration and names: seen in checkpoints that it wrote (commit 53f12c7), all three under ``tests/golden``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import KitError
from ..adapters import SETTINGS, lora_settings
from .external_checkpoint import ExternalCheckpoint, KeyedTensor, Weights, row_scale_in_transformers_4
from .names import Names
from .reader import CheckpointReader
from .weights import Lazy, open_file, open_weights

# A folder of the component layout -> the prefix that its keys have in the layout of one directory.
_FOLDERS = {
    "language_model": "language_model.",
    "vision_tower": "vision_tower._vision_tower.",
    "connector": "connector.",
}
_TOWER, _JOINT, _LLM = "vision_tower._vision_tower.", "connector._connector.", "language_model."
_ADAPTER = "base_model.model."
_MOF = ("clip.", "dinov2.")  # the weights of its mixture of two towers
_NOT_VISION = ("model_name_or_path", "model_name_or_path2", "torch_dtype", "_name_or_path")


class FactoryReader(CheckpointReader):
    """Its `CheckpointReader`."""

    def read(self, directory: Path, config: Mapping[str, Any], names: Names) -> ExternalCheckpoint:
        return _read(directory, config, names)


def _read(directory: Path, config: Mapping[str, Any], names: Names) -> ExternalCheckpoint:
    """Read a checkpoint of TinyLLaVA_Factory: one file of weights, or a directory for each part.

    Raises:
        KitError: a part of it is missing or damaged; an adapter that cannot be merged.
    """
    is_lora = (directory / SETTINGS).is_file()
    if is_lora or (directory / "language_model").is_dir():
        layout = "TinyLLaVA_Factory, a directory for each part" + (" with LoRA" if is_lora else "")
        tensors = _open_parts(directory)
        if is_lora:
            tensors = _merged(tensors, directory)
    else:
        layout = "TinyLLaVA_Factory"
        tensors = {key: KeyedTensor(key, tensor) for key, tensor in open_weights(directory).items()}
    parts: dict[str, Weights] = {_LLM: {}, _TOWER: {}, _JOINT: {}}
    unexpected_keys = []
    for key, source in tensors.items():
        prefix = next((prefix for prefix in parts if key.startswith(prefix)), None)
        if prefix is None:
            unexpected_keys.append(source.key)
        else:
            parts[prefix][key.removeprefix(prefix)] = source
    vision_names = (config.get("vision_model_name_or_path", ""), config.get("vision_model_name_or_path2", ""))
    vision_names = tuple(name.rpartition(":")[2] for name in vision_names if name)
    vision = {key: value for key, value in config["vision_config"].items() if key not in _NOT_VISION}
    if parts[_TOWER] and all(name.startswith(_MOF) for name in parts[_TOWER]):
        vision = _mixture(vision, vision_names, directory, names)
    return ExternalCheckpoint(
        layout=layout,
        directory=directory,
        text_config=config["text_config"],
        vision_config=vision,
        layer=config["vision_feature_layer"],
        dropped={"patch": 1, "cls_patch": 0}[config["vision_feature_select_strategy"]],
        connector=config["connector_type"],
        connector_options={
            "num_queries": config.get("num_queries"),
            "num_layers": config.get("num_resampler_layers") if config["connector_type"] == "resampler" else None,
        },
        aspect=config.get("image_aspect_ratio", "square"),
        vision_names=vision_names,
        llm=parts[_LLM],
        tower=parts[_TOWER],
        joint=parts[_JOINT],
        row_scale=row_scale_in_transformers_4(config["text_config"]),
        unexpected_keys=tuple(unexpected_keys),
    )


def _mixture(
    clip: Mapping[str, Any], vision_names: Sequence[str], directory: Path, names: Names
) -> dict[str, Mapping[str, Any]]:
    """The configuration of CLIP with DINOv2: the checkpoint describes the first, and names the second.

    Raises:
        KitError: it names none, or one that is not found.
    """
    if len(vision_names) != 2:
        raise KitError(
            f"{directory / 'config.json'}: the weights are of CLIP and DINOv2; vision_model_name_or_path2 must name "
            "the latter"
        )
    mixture: dict[str, Any] = {"model_type": "mof", "clip": clip, "dinov2": names.vision_config(vision_names[1])}
    return mixture


def _open_parts(directory: Path) -> dict[str, KeyedTensor]:
    """The three folders' tensors under the keys of the layout of one directory."""
    tensors = {}
    for folder, prefix in _FOLDERS.items():
        if not (directory / folder).is_dir():
            raise KitError(
                f"{str(directory)!r} has no folder {folder!r}; a directory of parts has {', '.join(_FOLDERS)}"
            )
        for key, tensor in open_weights(directory / folder).items():
            tensors[prefix + key] = KeyedTensor(f"{folder}/{key}", tensor)
    return tensors


def _merged(tensors: Mapping[str, KeyedTensor], directory: Path) -> dict[str, KeyedTensor]:
    """The base weights with the adapter's added to them: W + alpha / r * B A (Hu et al. 2021).

    Raises:
        KitError: an adapter of another kind, or one of a weight that is not there.
    """
    settings = lora_settings(directory / SETTINGS)
    file = directory / "adapter_model.safetensors"
    adapter = open_file(file if file.is_file() else directory / "adapter_model.bin")
    merged = {key.replace(".base_layer.", "."): source for key, source in tensors.items()}
    for key, low in adapter.items():
        module, found, _ = key.removeprefix(_ADAPTER).partition(".lora_A.")
        if not found:
            if ".lora_B." not in key:
                raise KitError(f"{file}: {key!r} is no weight of a LoRA adapter")
            continue
        if f"{module}.weight" not in merged:
            raise KitError(f"{file}: {key!r} adapts {module!r}, which the checkpoint does not have")
        base, high = merged[f"{module}.weight"], adapter.get(key.replace(".lora_A.", ".lora_B."))
        if high is None:
            raise KitError(f"{file}: {key!r} has no lora_B beside it; copy the whole adapter")
        if not _fits(base.tensor, low, high):
            raise KitError(
                f"{file}: {key!r} of shape {low.shape}, with its lora_B of shape {high.shape}, does not fit the weight "
                f"{base.key!r} of shape {base.tensor.shape}; copy the adapter that belongs to this checkpoint"
            )
        merged[f"{module}.weight"] = KeyedTensor(
            f"{base.key} + adapter", _add(base.tensor, low, high, _scale(settings, module))
        )
    return merged


def _fits(base: Lazy, low: Lazy, high: Lazy) -> bool:
    """Whether B (m, r) times A (r, n) is of the shape of the weight (m, n)."""
    if not len(low.shape) == len(high.shape) == 2:
        return False
    (rows, rank), (other_rank, columns) = high.shape, low.shape
    return rank == other_rank and (rows, columns) == tuple(base.shape)


def _scale(settings: Mapping[str, Any], module: str) -> float:
    """alpha / r of a module, or alpha / sqrt(r) with rank-stabilised LoRA."""
    rank, alpha = settings["r"], settings["lora_alpha"]
    for pattern, value in (settings.get("rank_pattern") or {}).items():
        rank = value if module.endswith(pattern) else rank
    for pattern, value in (settings.get("alpha_pattern") or {}).items():
        alpha = value if module.endswith(pattern) else alpha
    scale: float = alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    return scale


def _add(base: Lazy, low: Lazy, high: Lazy, scale: float) -> Lazy:
    def read() -> Tensor:
        weight = base.read()
        return (weight.float() + scale * (high.read().float() @ low.read().float())).to(weight.dtype)

    return Lazy(base.shape, base.dtype, read)
