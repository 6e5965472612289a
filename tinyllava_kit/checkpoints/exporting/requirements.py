"""What the targets ask of a model's parts, and how they compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...components.towers.vision_tower import TransformersVisionTower
from ...core.interfaces import Connector
from ...model.configuration import TinyLlavaConfig
from ...model.modeling import TinyLlavaForConditionalGeneration
from ...processing.processor import TinyLlavaProcessor
from ..external.mapping import IMAGE_MODALITY

FLOAT32_TOLERANCE = 1e-4  # of float32
_HALF_TOLERANCE = 0.05  # of halves, as a share of the largest value
_VISION = ("clip_vision_model", "siglip_vision_model")


def quantized_fault(config: TinyLlavaConfig) -> list[str]:
    """Why quantized weights are not exported; empty where there are none."""
    if getattr(config, "quantization_config", None) is None:
        return []
    return ["its weights are quantized; export the model in full precision"]


def decoder_notes(model: TinyLlavaForConditionalGeneration) -> list[str]:
    """The decoders, which no target has a place for."""
    return [f"without decoder {modality}: the LLM's text alone" for modality in model.decoders]


def marker_fault(processor: TinyLlavaProcessor) -> list[str]:
    """Why a picture with texts around it is not exported; empty where there are none."""
    token = processor.specs[IMAGE_MODALITY].token
    if not (token.begin or token.end):
        return []
    return [f"pictures stand between {token.begin!r} and {token.end!r}, which another program would not write"]


def is_clip_or_siglip(tower: nn.Module) -> bool:
    """Whether it is one of the two vision transformers, as transformers builds them."""
    kind = getattr(getattr(tower, "vision_config", None), "model_type", None)
    return isinstance(tower, TransformersVisionTower) and kind in _VISION


def is_two_layers_with_gelu(connector: Connector) -> bool:
    """Whether it is LLaVA-1.5's: two linear layers with the exact GELU between, over each feature by itself."""
    layers = list(getattr(connector, "layers", ()))
    if [type(layer) for layer in layers] != [nn.Linear, nn.GELU, nn.Linear] or layers[1].approximate != "none":
        return False
    return bool(layers[0].in_features == connector.in_dim and connector.num_tokens(60) == 60)


def aspect(model: TinyLlavaForConditionalGeneration) -> str:
    """How a model that sees reads its pictures."""
    return str(model.config.component("modality", IMAGE_MODALITY).options.get("aspect", "square"))


def dummy_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """For weights that no feature depends on: layers that do nothing, norms that only norm."""
    dummy = {name: torch.zeros_like(value) for name, value in state.items()}
    for name, value in dummy.items():
        if "norm" in name and name.endswith(".weight"):
            value.fill_(1.0)
    return dummy


def largest(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of two tensors of one shape; infinite where shapes or finiteness differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    difference = (ours.float() - theirs.float()).abs()
    return float(difference.nan_to_num(nan=float("inf")).max()) if difference.numel() else 0.0


def is_close(difference: float, ours: Tensor) -> bool:
    """Whether a difference from `ours` is one of rounding, in the dtype of `ours`."""
    if ours.dtype == torch.float32:
        return difference <= FLOAT32_TOLERANCE
    return difference <= _HALF_TOLERANCE * float(ours.float().abs().max())


def random_ids(model: TinyLlavaForConditionalGeneration, length: int = 16) -> Tensor:
    """Token ids (1, length), the same for every call."""
    table = model.get_input_embeddings().weight
    assert isinstance(table, Tensor)
    return torch.randint(0, len(table), (1, length), generator=torch.Generator().manual_seed(0))


def text_option(config: TinyLlavaConfig, name: str, default: Any = None) -> Any:
    """A field of the LLM's configuration, or the default where it is missing or None."""
    value = getattr(config.text_config, name, None)
    return default if value is None else value
