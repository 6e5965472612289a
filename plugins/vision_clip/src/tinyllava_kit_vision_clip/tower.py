"""CLIP's vision transformer as a tower.

CLIP: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021; which layer
and which features are read: LLaVA-1.5 (Liu et al., 2023). The network is transformers' `CLIPVisionModel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from transformers import CLIPImageProcessorPil, CLIPVisionModel

from tinyllava_kit.components import TransformersImagePreprocessor, TransformersVisionTower


class ClipPreprocessor(TransformersImagePreprocessor):
    """CLIP's: the shorter side scaled, the middle cropped, normalised."""

    processor_class = CLIPImageProcessorPil


class ClipTower(TransformersVisionTower):
    """Hidden states of one layer of CLIP: a class token, which `patch` drops, then the patches row by row."""

    model_class = CLIPVisionModel
    model_types = ("clip", "clip_vision_model")
    preprocessor_class = ClipPreprocessor
    num_prefix = 1
    selections: ClassVar[Mapping[str, int]] = {"patch": 1, "cls_patch": 0}

    def take_parts(self, model: CLIPVisionModel) -> None:
        self.pre_layrnorm = model.pre_layrnorm

    def embed(self, patches: Tensor) -> Tensor:
        cls_token = self.embeddings.class_embedding.expand(patches.shape[0], 1, -1)  # (N, 1, E)
        hidden = torch.cat([cls_token, patches], dim=1)  # (N, 1 + P, E)
        return self.pre_layrnorm(hidden + self.embeddings.position_embedding.weight)  # (N, 1 + P, E)
