"""An image model of timm as a tower.

timm: Wightman, "PyTorch Image Models", github.com/huggingface/pytorch-image-models.

Legend: N pictures, P features of a picture, E their width, C channels, H and W sides of the picture or of a map.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.models import get_model_input_config, resolve_model_input_args
from torch import Tensor, nn

from tinyllava_kit import KitError, near
from tinyllava_kit.components import ImagePreprocessor
from tinyllava_kit.files import Count, arguments, checked, first_line, read_mapping
from tinyllava_kit.interfaces import Features, Grid, Tower
from tinyllava_kit.pretrained import load_state, looks_local

from .description import Data, Shape, facts, network

_MODEL = "tower 'timm': model"


class TimmPreprocessor(ImagePreprocessor):
    """timm's own evaluation transform: scaled, the middle cropped, normalised.

    Args:
        data: keyword arguments of `timm.data.create_transform`, as `timm.data.resolve_data_config` makes them.
        num_features: of a picture.
    """

    def __init__(self, data: Data, num_features: Count) -> None:
        self.data = dict(data)
        self.num_features_of_picture = num_features
        self.transform = create_transform(**self.data)

    @property
    def size(self) -> tuple[int, int]:
        _, height, width = self.data["input_size"]
        return height, width

    @property
    def mean(self) -> tuple[float, float, float]:
        red, green, blue = self.data["mean"]
        return red, green, blue

    @property
    def features_per_image(self) -> int:
        return self.num_features_of_picture

    def pixels(self, image: Image.Image) -> Tensor:
        return self.transform(image)  # (3, H, W)

    def settings(self) -> dict[str, Any]:
        settings = {"data": self.data, "num_features": self.num_features_of_picture}
        return json.loads(json.dumps(settings))  # tuples as JSON gives them back

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> TimmPreprocessor:
        return cls(**arguments(cls, settings, "preprocessor of 'timm'"))


class TimmTower(Tower):
    """Features of one layer of a timm model, row by row where they are a raster.

    Tokens without a place in the picture (class token, registers) are left out. Only the layers that the
    features need are built.
    """

    preprocessor_class = TimmPreprocessor

    def __init__(self, config: Mapping[str, Any]) -> None:
        own = {**checked(Shape, config, "tower 'timm'"), "model": network(config.get("model"), _MODEL)}
        super().__init__(json.loads(json.dumps(own)))
        self.model = _trimmed(timm.create_model(pretrained=False, **self.config["model"]), self.config)

    @property
    def embed_dim(self) -> int:
        return self.config["embed_dim"]

    @property
    def grid(self) -> Grid | None:
        grid = self.config["grid"]
        return (grid[0], grid[1]) if grid else None

    @classmethod
    def read_config(
        cls,
        checkpoint: str,
        *,
        layer: str = "final",
        image_size: int = 0,
        crop_pct: float | None = None,
        pretrained: bool = True,
    ) -> dict[str, Any]:
        """See `Tower.read_config`; the options are those of the spec.

        Raises:
            KitError: an unknown model or layer, a size the model cannot take, a directory that timm did not write.
        """
        with _naming(checkpoint):
            described = _arguments(checkpoint, image_size)
            with torch.device("meta"):
                model = timm.create_model(pretrained=False, **described).eval()
        data = _data(model, image_size, crop_pct, checkpoint)
        index = _stage(layer, len(model.feature_info), checkpoint)
        config = {
            "model": {**described, "pretrained_cfg": facts(described["pretrained_cfg"], _MODEL)},
            "image_size": image_size,
            "pretrained": pretrained,
            "index": index,
            "unused": [],
            "data": data,
        }
        with _naming(checkpoint), torch.enable_grad():
            features = _features(_trimmed(model, config), torch.zeros(1, *data["input_size"], device="meta"), index)
            shape = _shape(features, model, data["input_size"][1:], checkpoint, index)
            config.update(shape, unused=_unused(model, features))
        return json.loads(json.dumps(config))

    @classmethod
    def read_preprocessor(cls, checkpoint: str, config: Mapping[str, Any]) -> TimmPreprocessor:
        return TimmPreprocessor(config["data"], config["num_features"])

    def load_weights(self, checkpoint: str) -> None:
        """See `Tower.load_weights`; timm reads them, and fits them to another image size where it can.

        Raises:
            KitError: there are none, or they do not fit.
        """
        with _naming(checkpoint):
            described = _arguments(checkpoint, self.config["image_size"])
            whole = timm.create_model(pretrained=self.config["pretrained"], **described)
        load_state(self.model, _trimmed(whole, self.config).state_dict(), checkpoint)

    def forward(self, pixel_values: Tensor) -> Features:
        """(N, 3, H, W), normalised -> features (N, P, E)."""
        pixel_values = pixel_values.to(next(self.parameters()).dtype)
        features = _features(self.model, pixel_values, self.config["index"])
        if self.config["layout"] == "NCHW":
            features = features.flatten(2).transpose(1, 2)  # (N, P, E)
        elif self.config["layout"] == "NHWC":
            features = features.flatten(1, 2)  # (N, P, E)
        return Features(features[:, self.config["num_prefix"] :], None, self.grid)  # (N, P, E)


# What a checkpoint argument means.


def _arguments(checkpoint: str, image_size: int) -> dict[str, Any]:
    """The keyword arguments of `timm.create_model`; reads a ``config.json`` at most.

    The classifier stays until the weights are read: without it timm takes files with missing keys for good.
    """
    source = _source(checkpoint)
    resolved = resolve_model_input_args(source, {"img_size": image_size or None})
    resolved.pop("pretrained_model_args", None)  # says how the weights were made; not needed without them
    if not source.startswith(("hf-hub:", "local-dir:")):
        return resolved  # timm's own, which says itself where its weights are
    where = resolved["pretrained_cfg"]
    described = network(resolved, f"{checkpoint!r}: config.json")
    own = {"source": where["source"], **{key: where[key] for key in ("file", "hf_hub_id") if where.get(key)}}
    return {**described, "pretrained_cfg": {**described["pretrained_cfg"], **own}}


def _source(checkpoint: str) -> str:
    """timm's name for the checkpoint: a registered model, ``hf-hub:org/name`` or ``local-dir:path``.

    Raises:
        KitError: none of these.
    """
    if checkpoint.startswith(("hf-hub:", "local-dir:")):
        return checkpoint
    if looks_local(checkpoint):
        directory = Path(os.path.expanduser(checkpoint))
        _check_directory(directory)
        return f"local-dir:{directory}"
    if "/" in checkpoint:
        return f"hf-hub:{checkpoint}"
    name, _, tag = checkpoint.partition(".")
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        advice = near(name, close) if close else "timm.list_models() names them all"
        raise KitError(f"timm has no model {name!r}; {advice}")
    tagged = timm.list_pretrained(f"{name}.*")
    if tag and checkpoint not in tagged:
        raise KitError(f"timm has no weights {checkpoint!r}; {near(checkpoint, tagged)}")
    return checkpoint


def _check_directory(path: Path) -> None:
    if not os.path.isdir(path):
        raise KitError(f"no checkpoint directory {str(path)!r}; give a timm model, a hub name or an existing directory")
    if "architecture" not in read_mapping(path / "config.json"):
        raise KitError(
            f"{str(path / 'config.json')!r} has no 'architecture', so it is no timm model; "
            f"timm.models.save_for_hf writes such directories"
        )


def _data(model: nn.Module, image_size: int, crop_pct: float | None, checkpoint: str) -> dict[str, Any]:
    """How pictures are prepared for the model, as arguments of `timm.data.create_transform`."""
    if model.in_chans != 3:
        raise KitError(f"{checkpoint!r} takes {model.in_chans} channels; pictures have 3")
    if crop_pct is not None and not 0 < crop_pct <= 1:
        raise KitError(f"tower 'timm': crop_pct must be over 0 and at most 1, got {crop_pct}")
    own = get_model_input_config(model)["input_size"]
    size = (3, image_size, image_size) if image_size else own
    return resolve_data_config({"input_size": size, "crop_pct": crop_pct}, model=model)


@contextmanager
def _naming(checkpoint: str) -> Iterator[None]:
    """Turn what timm and the hub's client raise for a bad checkpoint or argument into one line that names it."""
    try:
        yield
    except KitError:
        raise
    except (AssertionError, RuntimeError, ValueError, TypeError, KeyError, OSError) as error:
        raise KitError(f"timm cannot make {checkpoint!r}: {first_line(error)}") from error


# The part of a model that makes the features.


def _stage(layer: str, num_stages: int, checkpoint: str) -> int | None:
    """The absolute index of feature map ``stage:K``; None for ``final``."""
    match = re.fullmatch(r"stage:(-?\d+)", layer)
    if layer != "final" and match is None:
        raise KitError(f"tower 'timm': layer must be 'final' or 'stage:K', like 'stage:-2', got {layer!r}")
    if match is None:
        return None
    index = int(match[1])
    if not -num_stages <= index < num_stages:
        raise KitError(
            f"{checkpoint!r} has {num_stages} stages, 0 to {num_stages - 1} or -{num_stages} to -1; got {layer!r}"
        )
    return index % num_stages


def _trimmed(model: nn.Module, config: Mapping[str, Any]) -> nn.Module:
    """The model without what comes after the features; in place."""
    if config["index"] is not None:
        model.prune_intermediate_layers([config["index"]], prune_norm=True)
    children = dict(model.named_children())
    for name in config["unused"]:
        if name not in children:
            raise KitError(f"tower 'timm': unused: the model has no part {name[:80]!r}")
        setattr(model, name, nn.Identity())
    return model


def _features(model: nn.Module, pixel_values: Tensor, index: int | None) -> Tensor:
    """What the model makes of pictures (N, 3, H, W), in the layout it has: (N, C, H, W), (N, H, W, C) or (N, L, C)."""
    if index is None:
        return model.forward_features(pixel_values)
    return model.forward_intermediates(
        pixel_values, indices=[index], norm=False, stop_early=True, output_fmt="NCHW", intermediates_only=True
    )[0]  # (N, C, H, W)


def _unused(model: nn.Module, features: Tensor) -> list[str]:
    """The children of the model whose parameters the features do not depend on: heads, poolings, their norms."""
    features.sum().backward()
    unused = []
    for name, child in model.named_children():
        parameters = list(child.parameters())
        if parameters and all(parameter.grad is None for parameter in parameters):
            unused.append(name)
    return unused


def _shape(
    features: Tensor, model: nn.Module, size: tuple[int, int], checkpoint: str, index: int | None
) -> dict[str, Any]:
    """How the features of one picture lie: layout, leading tokens without a place, P, E and the raster."""
    if not isinstance(features, Tensor) or features.ndim not in (3, 4):
        raise KitError(f"{checkpoint!r} has no single map of features at layer 'final'; try layer 'stage:-1'")
    if features.ndim == 3:
        return _token_shape(features, model, size)
    layout = "NCHW" if index is not None else getattr(model, "output_fmt", "NCHW")
    _, a, b, c = features.shape
    width, grid = (a, (b, c)) if layout == "NCHW" else (c, (a, b))
    return {
        "layout": layout,
        "num_prefix": 0,
        "num_features": grid[0] * grid[1],
        "embed_dim": width,
        "grid": grid,
    }


def _token_shape(features: Tensor, model: nn.Module, size: tuple[int, int]) -> dict[str, Any]:
    _, tokens, width = features.shape
    reduction = model.feature_info[-1]["reduction"]
    grids = [tuple(rounded(side / reduction) for side in size) for rounded in (math.floor, math.ceil)]
    prefix = getattr(model, "num_prefix_tokens", None)
    if prefix is None:  # some models have a class token and do not say so
        prefix = int(any(tokens == 1 + h * w for h, w in grids))
    return {
        "layout": "NLC",
        "num_prefix": prefix,
        "num_features": tokens - prefix,
        "embed_dim": width,
        "grid": next(((h, w) for h, w in grids if h * w == tokens - prefix), None),
    }
