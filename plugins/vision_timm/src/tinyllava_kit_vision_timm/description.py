"""What a file may say of a model of timm: a list, for timm takes any argument, and some name files and addresses."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import timm
from pydantic import Field
from timm.models import filter_pretrained_cfg
from typing_extensions import NotRequired, TypedDict

from tinyllava_kit import KitError
from tinyllava_kit.files import Count, Divisor, Finite, Size, checked

_Sides = tuple[Count, Count, Count]
_Colour = tuple[Finite, Finite, Finite]
_Share = Annotated[float, Field(gt=0, le=1)]
# Of a network's own arguments: what can name neither a file nor an address, nor hold a mapping.
_Value = bool | int | float | Annotated[str, Field(pattern=r"^[\w.-]*$", max_length=80)] | None

# What timm knows of weights that has to do with the network and its pictures.
_FACTS: dict[str, Any] = {
    "input_size": _Sides,
    "test_input_size": _Sides,
    "min_input_size": _Sides,
    "fixed_input_size": bool,
    "interpolation": str,
    "crop_pct": _Share,
    "test_crop_pct": _Share,
    "crop_mode": str,
    "mean": tuple[Finite, ...],
    "std": tuple[Divisor, ...],
    "num_classes": Size,
    "pool_size": tuple[Count, ...] | None,
    "test_pool_size": tuple[Count, ...] | None,
    "first_conv": str | list[str] | None,
    "classifier": str | list[str] | None,
    "tag": str,
    "architecture": str,
    "license": str,
}
# Arguments of timm's factory and builder, which say where weights are and how they are read.
_FACTORY = {*inspect.signature(timm.create_model).parameters, "pretrained_model_args", "cache_dir", "cfg", "model_cls"}


class Data(TypedDict):
    """Keyword arguments of `timm.data.create_transform`."""

    input_size: _Sides
    interpolation: Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"]
    mean: _Colour
    std: tuple[Divisor, Divisor, Divisor]
    crop_pct: _Share
    crop_mode: Literal["center", "squash", "border"]


class Shape(TypedDict):
    """How the features of a picture lie; see `TimmTower`."""

    image_size: Size
    pretrained: bool
    index: Size | None
    unused: list[str]
    data: Data
    layout: Literal["NCHW", "NHWC", "NLC"]
    num_prefix: Size
    num_features: Count
    embed_dim: Count
    grid: tuple[Count, Count] | None
    model: NotRequired[dict[str, Any]]


def network(content: Any, where: str) -> dict[str, Any]:
    """Arguments of `timm.create_model` that describe a network, of those that a file holds; no weights are named.

    Raises:
        KitError: not the name of a model of timm, or an argument of another kind; names it.
    """
    content = checked(dict[str, Any], content, where)
    name = checked(str, content.get("model_name"), f"{where}.model_name")
    if ":" in name or "/" in name or not timm.is_model(name):
        raise KitError(f"{where}.model_name: timm has no model {name[:200]!r}; a saved model names one of timm's own")
    found: dict[str, Any] = {"model_name": name, "pretrained_cfg": facts(content.get("pretrained_cfg") or {}, where)}
    for key, value in content.items():
        if key in found:
            continue
        if key in _FACTORY or key.startswith("pretrained"):
            raise KitError(f"{where}.{key}: is not of a network; leave it out")
        found[key] = checked(_Value | list[_Value], value, f"{where}.{key}")
    return found


def facts(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What timm knows of weights, without where they are and what their classes are called.

    Raises:
        KitError: a value of another type.
    """
    content = filter_pretrained_cfg(checked(dict[str, Any], content, f"{where}.pretrained_cfg"), remove_null=True)
    where = f"{where}.pretrained_cfg"
    return {key: checked(kind, content[key], f"{where}.{key}") for key, kind in _FACTS.items() if key in content}
