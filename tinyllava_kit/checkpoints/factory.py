"""TinyLLaVA_Factory's models: its configuration and its parameter names, as ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig

from ..core.catalog import Catalog
from ..core.configuration import TinyLlavaConfig
from ..core.discovery import discover
from ..core.errors import KitError, near
from ..core.modeling import build_connector, build_tower
from ..core.specs import load

# Its vision model type -> our tower, and its feature selection -> ours. Its 'patch' drops the first feature of
# SigLIP too, which has no class token: a patch is lost, and its checkpoints were trained so.
TOWERS = {
    "clip_vision_model": ("clip", {"patch": "patch", "cls_patch": "cls_patch"}),
    "siglip_vision_model": ("siglip", {"patch": "drop_first", "cls_patch": "all"}),
}
LLMS = {"llama": "llama"}
TEMPLATES = {"llama": "llama"}

IMAGE = "image"
_NOT_ARCHITECTURE = ("model_name_or_path", "model_name_or_path2", "torch_dtype", "_name_or_path")


def convert_config(old: Mapping[str, Any], catalog: Catalog | None = None) -> TinyLlavaConfig:
    """Its ``config.json`` -> our configuration.

    Raises:
        KitError: a vision model, LLM or connector that the kit does not know.
    """
    catalog = catalog or discover()
    text = dict(old["text_config"])
    vision = {k: v for k, v in old["vision_config"].items() if k not in _NOT_ARCHITECTURE}
    tower_name, selections = _look_up(TOWERS, vision.get("model_type"), "vision model")
    tower = {
        "vision_config": vision,
        "layer": old["vision_feature_layer"],
        "select": selections[old["vision_feature_select_strategy"]],
    }
    llm = _look_up(LLMS, text.get("model_type"), "llm")
    text_config = AutoConfig.for_model(**text)
    config = TinyLlavaConfig(
        text_config=text_config,
        llm={"name": llm},
        template={"name": TEMPLATES[llm]},
        towers={IMAGE: {"name": tower_name, "config": tower}},
        modalities={IMAGE: {"name": IMAGE, "options": {"aspect": old.get("image_aspect_ratio", "square")}}},
    )
    with torch.device("meta"):
        built = build_tower(config, IMAGE, catalog)
    joint = {"in_dim": built.embed_dim, "out_dim": text_config.hidden_size}
    if built.grid is not None:
        joint["grid"] = list(built.grid)
    config.connectors[IMAGE] = {
        "name": old["connector_type"],
        "options": _connector_options(old, catalog),
        "config": joint,
    }
    return config


def convert_state(
    old: Mapping[str, Tensor], config: TinyLlavaConfig, catalog: Catalog | None = None
) -> dict[str, Tensor]:
    """Its state dict -> ours. What its tower never uses (later layers, the head) is left out.

    Source of the names: PEER.md 2.2 and 2.3 of the project's notes, seen in checkpoints that it wrote.

    Raises:
        KitError: a key of no known part.
    """
    catalog = catalog or discover()
    component = config.component("connector", IMAGE)
    connector_class = load(component.offer("connector", catalog).spec)
    with torch.device("meta"):
        tower_keys = build_tower(config, IMAGE, catalog).state_dict().keys()
        build_connector(config, IMAGE, catalog)
    new, connector = {}, {}
    for key, value in old.items():
        if key.startswith("language_model."):
            new[key] = value
        elif key.startswith("vision_tower._vision_tower."):
            name = key.removeprefix("vision_tower._vision_tower.").removeprefix("vision_model.")
            if name in tower_keys:
                new[f"towers.{IMAGE}.{name}"] = value
        elif key.startswith("connector._connector."):
            connector[key.removeprefix("connector._connector.")] = value
        else:
            raise KitError(f"{key!r} belongs to no part of a TinyLLaVA_Factory model")
    rename = getattr(connector_class, "from_factory_keys", dict)
    new.update({f"connectors.{IMAGE}.{key}": value for key, value in rename(connector).items()})
    return new


def _connector_options(old: Mapping[str, Any], catalog: Catalog) -> dict[str, Any]:
    """The options that its connector had; those of its Q-Former and resampler stand in the configuration."""
    name = old["connector_type"]
    spec = catalog.find("connector", name).spec
    known = {"num_queries": old.get("num_queries"), "num_layers": old.get("num_resampler_layers")}
    if name == "qformer":
        known.pop("num_layers")  # its depth is that of bert-base
    options = {option.name: known[option.name] for option in spec.options if known.get(option.name) is not None}
    return {**options, **spec.name_options(name)}


def _look_up(table: Mapping[str, Any], key: Any, what: str) -> Any:
    if key not in table:
        raise KitError(
            f"no {what} of model type {key!r} is known for TinyLLaVA_Factory models; {near(str(key), table)}"
        )
    return table[key]
