"""Names of other checkpoints that stand in a checkpoint's configuration, found on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from ...errors import KitError
from ...files.failures import read_mapping
from ...files.paths import offline
from ...pretrained.checkpoint import read_pretrained, without_reports

# Vision models that old checkpoints name without describing them: what their config.json on the hub says.
_CLIP_L = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "projection_dim": 768,
}
_SIGLIP_SO400M = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 384,
}
_DINOV2_L = {
    "model_type": "dinov2",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 518,
}
KNOWN = {
    "openai/clip-vit-large-patch14": {**_CLIP_L, "image_size": 224},
    "openai/clip-vit-large-patch14-336": {**_CLIP_L, "image_size": 336},
    "facebook/dinov2-large": _DINOV2_L,
    "google/siglip-so400m-patch14-384": _SIGLIP_SO400M,
    "bczhou/TinyLLaVA-3.1B-SigLIP": _SIGLIP_SO400M,
    "bczhou/TinyLLaVA-2.0B-SigLIP": _SIGLIP_SO400M,
    "bczhou/TinyLLaVA-1.5B-SigLIP": _SIGLIP_SO400M,
}
_LEVELS = 3  # how many folders above the checkpoint may hold what it names


class Names:
    """Where names in a checkpoint's configuration are looked for.

    In `names_from`, the current folder, the checkpoint's own folder and the three above it, and in a folder ``assets``
    of those. A name that is found nowhere may be a hub name.

    Args:
        directory: of the checkpoint.
        names_from: a folder to look in first.
    """

    def __init__(self, directory: Path, names_from: str | None = None) -> None:
        above = directory.resolve().parents[:_LEVELS]
        folders = [*([Path(names_from)] if names_from else []), Path(), directory, *above]
        self.folders = [place for folder in folders for place in (folder, folder / "assets")]

    def find(self, name: str) -> str | None:
        """The local directory that a name means, or None."""
        found = (folder / name for folder in self.folders if name and os.path.isfile(folder / name / "config.json"))
        return next(map(str, found), None)

    def candidates(self, name: str) -> list[str]:
        """What may be given to ``from_pretrained``: the local directory, or else the hub name."""
        found = self.find(name)
        if found:
            return [found]
        return [name] if name.count("/") == 1 and not offline() else []

    def vision_config(self, name: str) -> dict[str, Any]:
        """The configuration of the vision model that a checkpoint names.

        Raises:
            KitError: it is not here, cannot be fetched, and is none of those that the kit knows by name.
        """
        for candidate in self.candidates(name):
            try:
                with without_reports():
                    config = read_pretrained(AutoConfig, candidate)
            except KitError:
                continue
            vision: dict[str, Any] = getattr(config, "vision_config", config).to_dict()
            return vision
        if name in KNOWN:
            return dict(KNOWN[name])
        raise KitError(
            f"the checkpoint names the vision model {name!r} and does not describe it; give the folder in which "
            f"{name!r} lies with --names-from DIR"
        )

    def json(self, name: str) -> dict[str, Any] | None:
        """The ``config.json`` of a directory that is here."""
        found = self.find(name)
        return read_mapping(Path(found) / "config.json") if found else None
