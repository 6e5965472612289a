"""The towers' contracts, with toy checkpoints: `pytest --tinyllava-conformance=tinyllava-kit-vision-dinov2`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor
from transformers import (
    BitImageProcessorPil,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    PreTrainedModel,
)

from tinyllava_kit.testing import TowerContract

SIDE, TRAINED, PATCH, WIDTH, REGISTERS = 35, 49, 7, 18, 3  # trained at another size than pictures are made, as Meta's
SIZES = {
    "hidden_size": WIDTH,
    "mlp_ratio": 2,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "image_size": TRAINED,
    "patch_size": PATCH,
}


class Dinov2Contract(TowerContract):
    """Three layers, and the image processor."""

    prefix: ClassVar[int] = 1  # what stands before the patches
    other_options: ClassVar[Mapping[str, Any]] = {"image_size": 42}

    def model(self) -> PreTrainedModel:
        """A new network of transformers."""
        return Dinov2Model(Dinov2Config(**SIZES))

    def toy_checkpoint(self, folder: Path) -> str:
        """As the published ones: 7/8 of the shorter side is cropped."""
        torch.manual_seed(0)
        model = self.model()
        for parameter in model.parameters():  # biases and scales too, so that a forgotten one is seen
            torch.nn.init.normal_(parameter, std=0.2)
        model.save_pretrained(folder)
        crop = {"height": SIDE, "width": SIDE}
        BitImageProcessorPil(size={"shortest_edge": SIDE * 8 // 7}, crop_size=crop).save_pretrained(folder)
        return str(folder)

    def reference(self, item: Image.Image) -> Tensor:
        """The hidden states of transformers' own model, without what stands before the patches."""
        model = type(self.model()).from_pretrained(self.checkpoint, trust_remote_code=False).eval()
        pixels = BitImageProcessorPil.from_pretrained(self.checkpoint, trust_remote_code=False)(
            item, return_tensors="pt"
        )["pixel_values"]
        with torch.no_grad():
            hidden = model(pixels, output_hidden_states=True).hidden_states[self.given_options["layer"]]
        return hidden[0, self.prefix :]


class Dinov2WithRegistersContract(Dinov2Contract):
    """The same with registers."""

    prefix: ClassVar[int] = 1 + REGISTERS

    def model(self) -> PreTrainedModel:
        """A new network of transformers."""
        return Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SIZES, num_register_tokens=REGISTERS))
