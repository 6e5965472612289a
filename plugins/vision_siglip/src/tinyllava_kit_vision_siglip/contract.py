"""The tower's contract, with a toy checkpoint: `pytest --tinyllava-conformance=tinyllava-kit-vision-siglip`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel, SiglipVisionModel

from tinyllava_kit.testing import TowerContract

SIDE, PATCH, WIDTH = 38, 7, 18  # pixels; the last 3 of a side fill no patch
VISION = {
    "hidden_size": WIDTH,
    "intermediate_size": 23,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "image_size": SIDE,
    "patch_size": PATCH,
}
TEXT = {
    "hidden_size": 12,
    "intermediate_size": 13,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 17,
    "max_position_embeddings": 8,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


class SiglipContract(TowerContract):
    """A whole SigLIP, text tower and all, of three layers."""

    def toy_checkpoint(self, folder: Path) -> str:
        """With the image processor."""
        save_toy(folder)
        return str(folder)

    def reference(self, item: Image.Image) -> Tensor:
        """The hidden states of transformers' own model."""
        model = SiglipVisionModel.from_pretrained(self.checkpoint, trust_remote_code=False).eval()
        pixels = SiglipImageProcessorPil.from_pretrained(self.checkpoint, trust_remote_code=False)(
            item, return_tensors="pt"
        )["pixel_values"]
        with torch.no_grad():
            return model(pixels, output_hidden_states=True).hidden_states[self.given_options["layer"]][0]  # (P, E)


def save_toy(folder: Path, **vision: Any) -> None:
    """Write a toy, text and vision towers, with its image processor; `vision`: values in place of those of `VISION`."""
    torch.manual_seed(0)
    model = SiglipModel(SiglipConfig(text_config=TEXT, vision_config={**VISION, **vision}))
    for parameter in model.parameters():  # biases and norms too, so that a forgotten one is seen
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
