"""The tower `patchify1d`: a signal in windows, each window in patches, each patch projected.

Legend: N rows (windows), L samples of a row, P patches of a row, E width, S samples of a patch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from tinyllava_kit import KitError
from tinyllava_kit.interfaces import Features, Preprocessor, Tower

MODEL_TYPE = "patchify1d"
DEFAULTS = {"patch_size": 4, "window_patches": 5, "embed_dim": 11}


class PatchifyPreprocessor(Preprocessor):
    """Cuts a signal into windows of `window_patches` patches of `patch_size` samples; the last may be short."""

    def __init__(self, *, patch_size: int, window_patches: int) -> None:
        self.patch_size, self.window_patches = patch_size, window_patches

    def __call__(self, item: Tensor) -> list[dict[str, Tensor]]:
        """(L,) -> rows of ``signal``, (P * S,) with zeros after its end, and ``num_patches``, ()."""
        rows = []
        for window, count in zip(item.split(self._window), self.num_features(item), strict=True):
            padded = F.pad(window, (0, count * self.patch_size - len(window)))  # (P * S,)
            rows.append({"signal": padded, "num_patches": torch.tensor(count)})
        return rows

    def num_features(self, item: Tensor) -> list[int]:
        full, rest = divmod(len(item), self._window)
        return [self.window_patches] * full + ([-(-rest // self.patch_size)] if rest else [])

    def collate(self, rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """``signal`` (N, P * S) with zeros after each row's end, ``num_patches`` (N,) int64."""
        return {
            "signal": nn.utils.rnn.pad_sequence([row["signal"] for row in rows], batch_first=True),
            "num_patches": torch.stack([row["num_patches"] for row in rows]),
        }

    def settings(self) -> dict[str, Any]:
        return {"patch_size": self.patch_size, "window_patches": self.window_patches}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> PatchifyPreprocessor:
        return cls(**settings)

    @property
    def _window(self) -> int:
        return self.patch_size * self.window_patches


class PatchifyTower(Tower):
    """One linear map of each patch, and a position in the window added to it."""

    preprocessor_class: ClassVar[type[Preprocessor]] = PatchifyPreprocessor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.project = nn.Linear(config["patch_size"], config["embed_dim"])
        self.position = nn.Embedding(config["window_patches"], config["embed_dim"])

    @property
    def embed_dim(self) -> int:
        return self.config["embed_dim"]

    @classmethod
    def read_config(cls, checkpoint: str, *, patch_size: int | None = None) -> dict[str, Any]:
        """The checkpoint's configuration; without a checkpoint the defaults with `patch_size`.

        Raises:
            KitError: no such checkpoint, one of another kind, or one of another patch size.
        """
        if patch_size is not None and patch_size < 1:
            raise KitError(f"patch_size must be at least 1, got {patch_size}")
        if not checkpoint:
            return DEFAULTS | ({"patch_size": patch_size} if patch_size else {})
        path = Path(checkpoint) / "config.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise KitError(f"{path}: cannot read the tower's configuration: {error}") from error
        if found.get("model_type") != MODEL_TYPE:
            raise KitError(f"{path}: model type {found.get('model_type')!r}, expected {MODEL_TYPE!r}")
        if patch_size not in (None, found["patch_size"]):
            raise KitError(f"{path}: has patch_size {found['patch_size']}, the option says {patch_size}; leave it out")
        return {key: found[key] for key in DEFAULTS}

    @classmethod
    def read_preprocessor(cls, checkpoint: str, config: Mapping[str, Any]) -> PatchifyPreprocessor:
        return PatchifyPreprocessor(patch_size=config["patch_size"], window_patches=config["window_patches"])

    def load_weights(self, checkpoint: str) -> None:
        """The checkpoint's weights; without a checkpoint those that the module was made with stay.

        Raises:
            KitError: the file is not there or does not fit.
        """
        if not checkpoint:
            return
        path = Path(checkpoint) / "model.safetensors"
        try:
            self.load_state_dict(load_file(path))
        except (OSError, RuntimeError) as error:
            raise KitError(f"{path}: {' '.join(str(error).split())}") from error

    def forward(self, signal: Tensor, num_patches: Tensor) -> Features:
        """``signal`` (N, P * S), ``num_patches`` (N,) -> features (N, P, E) and their lengths."""
        patches = signal.unflatten(1, (-1, self.config["patch_size"]))  # (N, P, S)
        steps = torch.arange(patches.shape[1], device=signal.device)  # (P,)
        rows = self.project(patches.to(self.project.weight.dtype)) + self.position(steps)  # (N, P, E)
        real = steps < num_patches[:, None]  # (N, P)
        return Features(rows * real[..., None], num_patches)  # (N, P, E)
