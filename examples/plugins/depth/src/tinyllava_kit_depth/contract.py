"""The contracts of the modality and its tower: what `pytest --tinyllava-conformance` runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, from_numpy

from tinyllava_kit.testing import ModalityContract, TowerContract


class DepthContract(ModalityContract):
    """Files and arrays of several sizes."""

    takes_not_finite = "NaN stands where nothing was measured"

    def sources(self, folder: Path) -> Sequence[Any]:
        """Two files, an array and a list."""
        maps = [_map(height, 9) for height in (7, 8, 5, 2)]
        for number, depths in enumerate(maps[:2]):
            np.save(folder / f"{number}.npy", depths)
        return [str(folder / "0.npy"), str(folder / "1.npy"), maps[2], maps[3].tolist()]

    def equal_sources(self, folder: Path) -> Sequence[tuple[Any, Any]]:
        """A file, an array, a tensor and a list of the same depths."""
        depths = _map(4, 6)
        np.save(folder / "equal.npy", depths)
        return [(depths, other) for other in (str(folder / "equal.npy"), from_numpy(depths), depths.tolist())]

    def bad_sources(self, folder: Path) -> Mapping[str, Any]:
        """What is no map of depths."""
        return {
            "one dimension": np.ones(3),
            "a depth below 0": np.array([[1.0, -1.0]]),
            "a depth without end": np.array([[1.0, np.inf]]),
            "nothing that was measured": np.full((2, 2), np.nan),
        }

    def sized(self, number: int) -> Tensor:
        """A map of so many rows."""
        return from_numpy(_map(number, 5))

    def expected_measure(self, item: Tensor) -> float:
        """Each is one."""
        return 1.0


class DepthGridContract(TowerContract):
    """A grid of few cells. It has no checkpoint."""

    options: ClassVar[Mapping[str, Any]] = {"cells": 3}

    def items(self) -> Sequence[Tensor]:
        """Maps of several sizes."""
        return [from_numpy(_map(height, 9)) for height in (7, 8, 5)]


def _map(height: int, width: int) -> np.ndarray:
    """Depths up to 5 metres, (H, W) float32."""
    return np.random.default_rng(height).uniform(0, 5, (height, width)).astype(np.float32)
