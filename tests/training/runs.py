"""Recipes of one stage that tests write, and what a run of one leaves."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file

from tests import toys
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe


class Killed(Exception):
    """A run ends here, as if the process had been killed."""


def write_recipe(place: Path, name: str, stage: dict[str, object]) -> Path:
    """``NAME.yaml``: the stage ``s`` of ``model`` into the folder NAME, all in `place`."""
    path = place / f"{name}.yaml"
    stages = [{"name": "s", **stage}]
    path.write_text(yaml.safe_dump({"model": str(place / "model"), "output": str(place / name), "stages": stages}))
    return path


def write_short_recipe(place: Path, name: str, **stage: object) -> Path:
    """A recipe of five steps of a connector on ``rows.json``, each logged."""
    stage = {"train": {"connector.image": "full"}, "batch_size": 2, "max_steps": 5, "logging_steps": 1, **stage}
    return write_recipe(place, name, {"data": str(place / "rows.json"), **stage})


def write_dropout_recipe(place: Path, name: str, **stage: object) -> Path:
    """A recipe whose steps depend on the random state: a connector, and LoRA with dropout, on ``rows.json``."""
    stage = {
        "data": str(place / "rows.json"),
        "train": {"connector.image": "full", "llm": {"mode": "lora", "lora": {"dropout": 0.3}}},
        "batch_size": 2,
        "epochs": 4,
        "save_steps": 3,
        "logging_steps": 2,
        **stage,
    }
    return write_recipe(place, name, stage)


def run_two_steps(folder: Path, **settings: object) -> Path:
    """A toy of its own in a folder, trained for two steps by a recipe with these settings."""
    toys.save_picture_model(folder)
    stage = {"name": "s", "data": str(toys.picture_rows(folder)), "train": {"connector.image": "full"}}
    stage |= {"batch_size": 6, "logging_steps": 1, "max_steps": 2}
    recipe = {"model": str(folder / "model"), "output": str(folder / "out"), "stages": [stage], **settings}
    return run_recipe(Recipe.model_validate(recipe))


def train(place: Path, name: str, **stage: object) -> Path:
    """A run of that recipe, by default of a connector on ``rows.json``; the directory that the stage leaves."""
    stage = {
        "data": str(place / "rows.json"),
        "train": {"connector.image": "full"},
        "batch_size": 2,
        "logging_steps": 1,
        "schedule": "constant_with_warmup",
        "warmup_ratio": 0,
        **stage,
    }
    return run_recipe(Recipe.from_yaml(write_recipe(place, name, stage)))


def losses(place: Path, name: str, key: str = "loss") -> list[float]:
    """What its stage logged."""
    return losses_in(place / name / "s", key)


def losses_in(directory: Path, key: str = "loss") -> list[float]:
    """What the stage that left a directory logged."""
    return [entry[key] for entry in json.loads((directory / "log.json").read_text()) if key in entry]


def weights(folder: Path) -> torch.Tensor:
    """All of a model, (n,)."""
    tensors = load_file(folder / "model.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])
