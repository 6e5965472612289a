"""DINOv2's vision transformer as a tower, with and without registers.

DINOv2: Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023; registers: Darcet et al.,
"Vision Transformers Need Registers", 2023. The networks are transformers' `Dinov2Model` and
`Dinov2WithRegistersModel`.

Legend: N pictures, P patches of a picture, R registers, E tower width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import (
    BaseImageProcessor,
    BitImageProcessorPil,
    Dinov2Model,
    Dinov2WithRegistersModel,
    PreTrainedModel,
)
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from tinyllava_kit import KitError
from tinyllava_kit.components import TransformersImagePreprocessor, TransformersVisionTower
from tinyllava_kit.files import checked
from tinyllava_kit.pretrained import read_pretrained

# What transformers adds to the configuration for backbones; it names layers that are not built here.
_BACKBONE = ("out_features", "out_indices", "stage_names")
_SHORTER_SIDE, _CROP = 256, 224  # of the image processors of the published checkpoints


class Dinov2Preprocessor(TransformersImagePreprocessor):
    """DINOv2's: the shorter side scaled, the middle cropped, normalised."""

    processor_class = BitImageProcessorPil


class Dinov2Tower(TransformersVisionTower):
    """Hidden states of one layer of DINOv2: a class token, which `patch` drops, then the patches row by row.

    ``config`` has ``image_size`` besides: the side of a picture. Positions are interpolated where it is another than
    that in ``vision_config``, for which they were trained. Without it the two are the same.
    """

    model_class = Dinov2Model
    model_types = ("dinov2",)
    preprocessor_class = Dinov2Preprocessor
    num_prefix = 1
    selections: ClassVar[Mapping[str, int]] = {"patch": 1, "cls_patch": 0}

    def __init__(self, config: Mapping[str, Any]) -> None:
        vision = checked(dict[str, Any], config.get("vision_config"), "tower's config.vision_config")
        vision = {k: v for k, v in vision.items() if k not in _BACKBONE}
        super().__init__({**config, "vision_config": vision})

    def take_parts(self, model: PreTrainedModel) -> None:
        self.embeddings.mask_token = None  # for pretraining, never read here

    @classmethod
    def read_config(
        cls, checkpoint: str, *, layer: int = -2, select: str | None = None, image_size: int = 0
    ) -> dict[str, Any]:
        """See `TransformersVisionTower.read_config`.

        Args:
            image_size: side of a picture in pixels; 0: what the checkpoint's image processor makes.

        Raises:
            KitError: also a picture smaller than a patch, or one that is not a square.
        """
        config = super().read_config(checkpoint, layer=layer, select=select)
        config["vision_config"] = {k: v for k, v in config["vision_config"].items() if k not in _BACKBONE}
        vision = cls.model_class.config_class(**config["vision_config"])
        for name in ("image_size", "patch_size"):
            if not isinstance(getattr(vision, name), int):
                raise KitError(
                    f"{checkpoint!r} has {name} {getattr(vision, name)} in its config.json; expected a number, the "
                    "side of a square"
                )
        image_size = image_size or cls._processor_side(checkpoint)
        if image_size < vision.patch_size:
            raise KitError(
                f"{checkpoint!r}: image_size got {image_size}; its patches are {vision.patch_size} pixels wide, give "
                "at least one patch"
            )
        return {**config, "image_size": image_size}

    @classmethod
    def _processor_side(cls, checkpoint: str) -> int:
        """The side of the pictures that the checkpoint's image processor makes."""
        processor = read_pretrained(cls.image_preprocessor().processor_class, checkpoint)
        height, width = cls.image_preprocessor()(processor, features_per_image=0, name=repr(checkpoint)).size
        if height != width:
            raise KitError(
                f"{checkpoint!r}: its preprocessor makes pictures of {height} x {width} pixels; expected squares, give "
                "image_size"
            )
        return height

    @classmethod
    def read_processor(cls, checkpoint: str, config: Mapping[str, Any]) -> BaseImageProcessor:
        """The checkpoint's own, at the tower's size: another size keeps the share of the picture that is cropped."""
        processor = super().read_processor(checkpoint, config)
        side = config.get("image_size")
        crops = processor.do_center_crop
        was = (processor.crop_size if crops else processor.size)["height"]
        if not side or not was or was == side:
            return processor
        square = {"height": side, "width": side}
        settings = processor.to_dict()
        if not crops:
            return type(processor).from_dict({**settings, "size": square})
        shorter = settings["size"].get("shortest_edge")
        size = {"shortest_edge": round(shorter * side / was)} if shorter else square
        return type(processor).from_dict({**settings, "size": size, "crop_size": square})

    @classmethod
    def default_preprocessor(cls, config: Mapping[str, Any]) -> TransformersImagePreprocessor:
        """That of the published checkpoints at the tower's size."""
        side = cls._image_size(config)
        processor = cls.image_preprocessor().processor_class(
            size={"shortest_edge": round(side * _SHORTER_SIDE / _CROP)},
            crop_size={"height": side, "width": side},
            image_mean=IMAGENET_DEFAULT_MEAN,
            image_std=IMAGENET_DEFAULT_STD,
        )
        return cls.image_preprocessor()(processor, features_per_image=cls._num_features(config), name=cls.__name__)

    @classmethod
    def _image_size(cls, config: Mapping[str, Any]) -> int:
        return int(config.get("image_size") or super()._image_size(config))

    def patches(self, pixel_values: Tensor) -> Tensor:
        return self.embeddings.patch_embeddings(pixel_values)  # (N, P, E)

    def embed(self, patches: Tensor) -> Tensor:
        cls_token = self.embeddings.cls_token.expand(len(patches), -1, -1)  # (N, 1, E)
        tokens = torch.cat([cls_token, patches], dim=1)  # (N, 1 + P, E)
        tokens = tokens + self.embeddings.interpolate_pos_encoding(tokens, self.side, self.side)  # (N, 1 + P, E)
        return self.embeddings.dropout(tokens)  # (N, 1 + P, E)


class Dinov2WithRegistersTower(Dinov2Tower):
    """DINOv2 with registers: they stand behind the class token in every layer, and are not among the features."""

    model_class = Dinov2WithRegistersModel
    model_types = ("dinov2_with_registers",)

    def embed(self, patches: Tensor) -> Tensor:
        tokens = super().embed(patches)  # (N, 1 + P, E)
        registers = self.embeddings.register_tokens.expand(len(patches), -1, -1)  # (N, R, E)
        return torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)  # (N, 1 + R + P, E)

    def selected(self, hidden: Tensor) -> Tensor:
        patches = hidden[:, 1 + self.vision_config.num_register_tokens :]  # (N, P, E)
        return patches if self.num_dropped else torch.cat([hidden[:, :1], patches], dim=1)  # (N, P or 1 + P, E)
