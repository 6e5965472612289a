"""CLIP and DINOv2 side by side, as TinyLLaVA_Factory has them.

Mixture of features: Tong et al., "Eyes Wide Shut? Exploring the Visual Shortcomings of Multimodal LLMs", 2024.

Legend: N pictures, P features of a picture, E width of each of the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from tinyllava_kit_vision_clip.tower import ClipPreprocessor, ClipTower
from tinyllava_kit_vision_dinov2.tower import Dinov2Tower
from torch import Tensor

from tinyllava_kit import KitError
from tinyllava_kit.files import checked
from tinyllava_kit.interfaces import Features, Grid, Tower

SEPARATOR = "+"


class MofTower(Tower):
    """CLIP's features of a picture in the first half of the width, DINOv2's in the second.

    Both see the same pixels, made by CLIP's image processor; DINOv2's positions are interpolated to that size. The two
    are equally wide, so that a connector can tell them apart without knowing them.

    ``config``: ``vision_config`` (that of each under ``clip`` and ``dinov2``), ``layer`` and ``select``, which are
    those of both; see `TransformersVisionTower`.
    """

    preprocessor_class = ClipPreprocessor
    num_prefix = ClipTower.num_prefix
    selections: ClassVar[Mapping[str, int]] = ClipTower.selections

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.clip = ClipTower(_part(config, "clip"))
        self.dinov2 = Dinov2Tower({**_part(config, "dinov2"), "image_size": self.clip.side})
        _check_pair(self.clip, self.dinov2)

    @property
    def embed_dim(self) -> int:
        return self.clip.embed_dim + self.dinov2.embed_dim

    @property
    def grid(self) -> Grid | None:
        return self.clip.grid

    @classmethod
    def read_config(cls, checkpoint: str, *, layer: int = -2, select: str | None = None) -> dict[str, Any]:
        """From two checkpoints, ``CLIP+DINOV2``.

        Args:
            checkpoint: two hub names or local directories.
            layer: of both, whose hidden states are read.
            select: one of `selections`.

        Raises:
            KitError: one or three checkpoints, one of another kind, no such layer or selection; or the two differ in
                the number of patches or in their width.
        """
        first, second = _names(checkpoint)
        clip = ClipTower.read_config(first, layer=layer, select=select)
        with torch.device("meta"):
            side = ClipTower(clip).side
        dinov2 = Dinov2Tower.read_config(second, layer=layer, select=select, image_size=side)
        vision = {"clip": clip["vision_config"], "dinov2": dinov2["vision_config"]}
        config = {"vision_config": vision, "layer": layer, "select": clip["select"]}
        with torch.device("meta"):
            cls(config)  # raises where the two do not fit
        return config

    @classmethod
    def read_preprocessor(cls, checkpoint: str, config: Mapping[str, Any]) -> ClipPreprocessor:
        """CLIP's own; its checkpoint alone is enough."""
        return ClipTower.read_preprocessor(checkpoint.partition(SEPARATOR)[0], _part(config, "clip"))

    @classmethod
    def default_preprocessor(cls, config: Mapping[str, Any]) -> ClipPreprocessor:
        """CLIP's at the tower's size: for checkpoints that come without one."""
        return ClipTower.default_preprocessor(_part(config, "clip"))

    def load_weights(self, checkpoint: str) -> None:
        for tower, name in zip((self.clip, self.dinov2), _names(checkpoint), strict=True):
            tower.load_weights(name)

    def forward(self, pixel_values: Tensor) -> Features:
        """Pictures, (N, 3, H, W) of any floating dtype, normalised as CLIP wants them -> features (N, P, 2 E)."""
        both = [tower(pixel_values).features for tower in (self.clip, self.dinov2)]  # each (N, P, E)
        return Features(torch.cat(both, dim=-1), None, self.grid)  # (N, P, 2 E)


def _names(checkpoint: str) -> tuple[str, str]:
    """The checkpoints of CLIP and of DINOv2."""
    names = checkpoint.split(SEPARATOR)
    if len(names) != 2 or not all(names):
        raise KitError(
            f"tower 'mof' takes two checkpoints, one of CLIP and one of DINOv2, got {checkpoint!r}; write "
            f"mof:CLIP{SEPARATOR}DINOV2"
        )
    return names[0], names[1]


def _part(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The configuration of one of the two towers."""
    both = checked(dict[str, Any], config.get("vision_config"), "tower's config.vision_config")
    vision = checked(dict[str, Any], both.get(name, {}), f"tower's config.vision_config.{name}")
    return {"vision_config": vision, "layer": config.get("layer"), "select": config.get("select")}


def _check_pair(clip: ClipTower, dinov2: Dinov2Tower) -> None:
    sizes = [tower.vision_config.patch_size for tower in (clip, dinov2)]
    counts = [(clip.side // size) ** 2 for size in sizes]
    if counts[0] != counts[1]:
        raise KitError(
            f"tower 'mof': a picture of {clip.side} pixels is {counts[0]} patches for CLIP and {counts[1]} for DINOv2, "
            f"of {sizes[0]} and {sizes[1]} pixels; take two with patches of one size"
        )
    if clip.embed_dim != dinov2.embed_dim:
        raise KitError(
            f"tower 'mof': CLIP's features are {clip.embed_dim} wide and DINOv2's {dinov2.embed_dim}; take two of one "
            "width"
        )
