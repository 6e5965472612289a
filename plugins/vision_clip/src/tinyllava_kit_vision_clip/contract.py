"""The tower's contract, with a toy checkpoint: `pytest --tinyllava-conformance=tinyllava-kit-vision-clip`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPVisionModel

from tinyllava_kit.testing import TowerContract

SIDE, PATCH, WIDTH = 35, 7, 18
VISION = {
    "hidden_size": WIDTH,
    "intermediate_size": 23,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "image_size": SIDE,
    "patch_size": PATCH,
    "projection_dim": 11,
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
    "projection_dim": 11,
}


class ClipContract(TowerContract):
    """A whole CLIP, text tower and all, of three layers."""

    def toy_checkpoint(self, folder: Path) -> str:
        """With the image processor."""
        save_toy(folder)
        return str(folder)

    def reference(self, item: Image.Image) -> Tensor:
        """The hidden states of transformers' own model, without the class token."""
        options: dict[str, Any] = self.given_options
        model = CLIPVisionModel.from_pretrained(self.checkpoint, trust_remote_code=False).eval()
        pixels = CLIPImageProcessorPil.from_pretrained(self.checkpoint, trust_remote_code=False)(
            item, return_tensors="pt"
        )["pixel_values"]
        with torch.no_grad():
            hidden = model(pixels, output_hidden_states=True).hidden_states[options["layer"]]  # (1, 1 + P, E)
        return hidden[0, 1:]


def save_toy(folder: Path, **vision: Any) -> None:
    """Write a toy, text and vision towers, with its image processor; `vision`: values in place of those of `VISION`."""
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=TEXT, vision_config={**VISION, **vision}, projection_dim=11))
    for parameter in model.parameters():  # biases and norms too, so that a forgotten one is seen
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    square = {"height": SIDE, "width": SIDE}
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=square).save_pretrained(folder)
