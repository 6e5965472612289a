"""SigLIP's vision transformer as a tower.

SigLIP: Zhai et al., "Sigmoid Loss for Language Image Pre-Training", 2023; SigLIP 2: Tschannen et al., 2025. The
network is transformers' `SiglipVisionModel`, which also runs the fixed-resolution checkpoints of SigLIP 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from transformers import SiglipImageProcessorPil, SiglipVisionModel

from tinyllava_kit import KitError
from tinyllava_kit.components import TransformersImagePreprocessor, TransformersVisionTower


class SiglipPreprocessor(TransformersImagePreprocessor):
    """SigLIP's: squeezed to the tower's size, normalised."""

    processor_class = SiglipImageProcessorPil


class SiglipTower(TransformersVisionTower):
    """Hidden states of one layer of SigLIP: the patches row by row; there is no class token.

    ``select="drop_first"`` drops the first patch. TinyLLaVA_Factory does so, as if it were a class token, and
    models that it trained expect it; nothing else does.
    """

    model_class = SiglipVisionModel
    model_types = ("siglip", "siglip_vision_model")
    preprocessor_class = SiglipPreprocessor
    selections: ClassVar[Mapping[str, int]] = {"all": 0, "drop_first": 1}

    @classmethod
    def check_architecture(cls, model_type: str, checkpoint: str) -> None:
        if model_type.startswith("siglip2"):
            raise KitError(
                f"{checkpoint!r} is a SigLIP 2 NaFlex checkpoint, whose pictures vary in shape; this tower takes the "
                f"fixed-resolution ones, like google/siglip2-so400m-patch14-384"
            )
        super().check_architecture(model_type, checkpoint)

    def embed(self, patches: Tensor) -> Tensor:
        return patches + self.embeddings.position_embedding.weight  # (N, P, E)
