"""What every external layout is read into: the parts of an image-text model, under the names of its own classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...files.failures import read_mapping
from .weights import Lazy


@dataclass(frozen=True)
class KeyedTensor:
    """A tensor and the key under which the checkpoint has it."""

    key: str
    tensor: Lazy


Weights = dict[str, KeyedTensor]


def row_scale_in_transformers_4(text_config: Mapping[str, Any]) -> float:
    """Gemma's forward there scaled all that came in; today only its embedding of tokens does."""
    return math.sqrt(text_config["hidden_size"]) if text_config.get("model_type") == "gemma" else 1.0


def image_processor_of(directory: Path) -> Mapping[str, Any] | None:
    """The settings of the image processor that lies with a checkpoint, today's way or the older; None: there is none.

    Raises:
        KitError: the file is not a mapping in JSON; names it.
    """
    today, older = directory / "processor_config.json", directory / "preprocessor_config.json"
    settings: Mapping[str, Any] | None = read_mapping(today).get("image_processor") if today.is_file() else None
    if settings is not None:
        return settings
    return read_mapping(older) if older.is_file() else None


@dataclass(frozen=True, kw_only=True)
class ExternalCheckpoint:
    """A model of one tower, one connector and one LLM, as an external checkpoint describes it.

    text_config, vision_config: of transformers, with ``model_type``; ``mof`` is CLIP's and DINOv2's together.
    layer: whose hidden states. dropped: how many features are left out in front; None: a class token, where the tower
        has one.
    connector, connector_options: as the kit names them; options that the connector does not have are ignored.
    aspect: how pictures are brought to the tower's size.
    vision_names: where tower and image processor first came from, the latter from the first.
    llm, tower, joint: weights by the names inside each part; no tower: it is that of `vision_names`.
    row_scale: what the rows of a connector were multiplied by in front of the LLM, and are not in transformers 5.
    unexpected_keys: those of no known part.
    """

    layout: str
    directory: Path
    text_config: Mapping[str, Any]
    vision_config: Mapping[str, Any]
    layer: int
    dropped: int | None = None
    connector: str
    connector_options: Mapping[str, Any] = field(default_factory=dict)
    aspect: str = "square"
    vision_names: tuple[str, ...] = ()
    llm: Weights
    tower: Weights
    joint: Weights
    row_scale: float = 1.0
    unexpected_keys: tuple[str, ...] = ()
