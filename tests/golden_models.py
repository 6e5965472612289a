"""Golden models: TinyLLaVA_Factory's checkpoints through the public way, and its inputs."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.model.modeling import TinyLlavaForConditionalGeneration

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.parent.name for path in GOLDEN.glob("*/scenarios"))


def golden_model(case: str) -> TinyLlavaForConditionalGeneration:
    model, _ = load_pretrained(GOLDEN / case)
    return model.eval()


def scenario(case: str, name: str) -> tuple[dict[str, Tensor], dict]:
    folder = GOLDEN / case / "scenarios"
    return load_file(folder / f"{name}.safetensors"), json.loads((folder / f"{name}.json").read_text())


def largest(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape, f"{tuple(a.shape)} and {tuple(b.shape)}"
    return float((a - b).abs().max()) if a.numel() else 0.0


@torch.no_grad()
def image_rows(model: TinyLlavaForConditionalGeneration, images: Tensor) -> Tensor:
    return model.encode("image", {"pixel_values": images})
