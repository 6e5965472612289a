"""Recipes of one stage that tests write, and what a run of one leaves."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file


def write_recipe(place: Path, name: str, stage: dict[str, object]) -> Path:
    """``NAME.yaml``: the stage ``s`` of ``model`` into the folder NAME, all in `place`."""
    path = place / f"{name}.yaml"
    stages = [{"name": "s", **stage}]
    path.write_text(yaml.safe_dump({"model": str(place / "model"), "output": str(place / name), "stages": stages}))
    return path


def losses(place: Path, name: str, key: str = "loss") -> list[float]:
    """What its stage logged."""
    return [entry[key] for entry in json.loads((place / name / "s" / "log.json").read_text()) if key in entry]


def weights(folder: Path) -> torch.Tensor:
    """All of a model, (n,)."""
    tensors = load_file(folder / "model.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])
