"""The tower's contract, with a toy checkpoint of each: `pytest --tinyllava-conformance=tinyllava-kit-vision-mof`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel, Dinov2Config, Dinov2Model

from tinyllava_kit.testing import TowerContract

SIDE, TRAINED = 35, 49  # pixels; DINOv2 was trained at another size
SIZES: dict[str, Any] = {"hidden_size": 18, "num_hidden_layers": 3, "num_attention_heads": 3, "patch_size": 7}


class MofContract(TowerContract):
    """CLIP with its image processor, DINOv2 without one."""

    def toy_checkpoint(self, folder: Path) -> str:
        """``CLIP+DINOV2``, two folders."""
        torch.manual_seed(0)
        clip = CLIPVisionModel(CLIPVisionConfig(**SIZES, intermediate_size=23, image_size=SIDE))
        dinov2 = Dinov2Model(Dinov2Config(**SIZES, mlp_ratio=2, image_size=TRAINED))
        for model, name in ((clip, "clip"), (dinov2, "dinov2")):
            _randomise(model)
            model.save_pretrained(folder / name)
        square = {"height": SIDE, "width": SIDE}
        CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=square).save_pretrained(folder / "clip")
        return f"{folder / 'clip'}+{folder / 'dinov2'}"

    def altered(self, folder: Path, change: Callable[[Path], None]) -> str:
        """Of both."""
        names = [Path(each) for each in self.checkpoint.split("+")]
        for each in names:
            shutil.copytree(each, folder / each.name)
        change(folder)
        return "+".join(str(folder / each.name) for each in names)

    def reference(self, item: Image.Image) -> Tensor:
        """The hidden states of both, side by side."""
        clip, dinov2 = self.checkpoint.split("+")
        pixels = CLIPImageProcessorPil.from_pretrained(clip, trust_remote_code=False)(item, return_tensors="pt")[
            "pixel_values"
        ]
        found = []
        for kind, path in ((CLIPVisionModel, clip), (Dinov2Model, dinov2)):
            with torch.no_grad():
                hidden = (
                    kind.from_pretrained(path, trust_remote_code=False)
                    .eval()(pixels, output_hidden_states=True)
                    .hidden_states
                )
            found.append(hidden[self.given_options["layer"]][0, 1:])  # (P, E)
        return torch.cat(found, dim=-1)


def _randomise(model: nn.Module) -> None:
    """Biases and norms too, so that a forgotten one is seen."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
