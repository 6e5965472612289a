"""The modality's contract, on frames: `pytest --tinyllava-conformance=tinyllava-kit-video`. Files need PyAV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from tinyllava_kit.testing import ModalityContract

from .video import Clip


class VideoContract(ModalityContract):
    """Folders and lists of a few small frames."""

    options: ClassVar[Mapping[str, Any]] = {"frames": 4}
    other_options: ClassVar[Mapping[str, Any]] = {"rate": 0.5, "frames": 2}

    def sources(self, folder: Path) -> Sequence[Any]:
        """A folder of pictures, and lists of arrays."""
        frames = folder / "frames"
        frames.mkdir()
        for number in range(5):
            Image.fromarray(_frame(number)).save(frames / f"{number}.png")
        return [str(frames), [_frame(n) for n in range(7)], [_frame(n) for n in range(2)]]

    def equal_sources(self, folder: Path) -> Sequence[tuple[Any, Any]]:
        """Arrays and pictures."""
        return [([_frame(n) for n in range(3)], [Image.fromarray(_frame(n)) for n in range(3)])]

    def bad_sources(self, folder: Path) -> Mapping[str, Any]:
        """What has no frame."""
        return {"no frames": [], "a frame that is none": [np.zeros((3, 4))]}

    def expected_measure(self, item: Clip) -> float:
        """Frames."""
        return float(len(item.times))


def _frame(number: int) -> np.ndarray:
    """(32, 48, 3) uint8."""
    return np.random.default_rng(number).integers(0, 256, (32, 48, 3), np.uint8)
