"""The tower's contract, with a toy checkpoint: `pytest --tinyllava-conformance=tinyllava-kit-vision-timm`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn

from tinyllava_kit.testing import TowerContract

SIDE = 48


class TimmContract(TowerContract):
    """A vision transformer of timm, of three thin layers."""

    options: ClassVar[Mapping[str, Any]] = {"image_size": SIDE}
    other_options: ClassVar[Mapping[str, Any]] = {"layer": "stage:1", "image_size": 64, "crop_pct": 0.5}

    def toy_checkpoint(self, folder: Path) -> str:
        """As timm saves for the hub."""
        torch.manual_seed(0)
        model = _model()
        with torch.no_grad():
            for parameter in model.parameters():  # biases and norms too, so that a forgotten one is seen
                parameter.add_(0.1 * torch.randn_like(parameter))
        timm.models.save_for_hf(model, folder, safe_serialization=True)
        return str(folder)

    def reference(self, item: Image.Image) -> Tensor:
        """What timm's own model makes of a picture that timm prepares, without the class token."""
        model = _model().eval()
        model.load_state_dict(load_file(Path(self.checkpoint) / "model.safetensors"))
        transform = create_transform(**resolve_data_config({"input_size": (3, SIDE, SIDE)}, model=model))
        with torch.no_grad():
            return model.forward_features(transform(item)[None])[0, 1:]

    def of_another_kind(self, folder: Path) -> None:
        """Of an architecture that timm does not have."""
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps({**config, "architecture": "of_another_kind"}), encoding="utf-8")


def _model() -> nn.Module:
    sizes = {"embed_dim": 21, "depth": 3, "num_heads": 3, "img_size": SIDE}
    model: nn.Module = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=5, **sizes)
    return model
