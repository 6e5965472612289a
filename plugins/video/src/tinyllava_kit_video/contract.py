"""What the checks of the modality read: small films, written on the spot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
from PIL import Image

from tinyllava_kit.testing import ModalityContract

from .video import Clip


class VideoContract(ModalityContract):
    """Films of different lengths, and a list of frames."""

    options: ClassVar[Mapping[str, Any]] = {"frames": 3}

    def sources(self, folder: Path) -> Sequence[Any]:
        films = [_film(folder / f"{count}.mp4", count) for count in (2, 5, 9)]
        return [*films, [_frame(number) for number in range(4)]]

    def equal_sources(self, folder: Path) -> Sequence[tuple[Any, Any]]:
        frames = [_frame(number) for number in range(4)]
        return [(frames, [Image.fromarray(frame) for frame in frames])]

    def bad_sources(self, folder: Path) -> Mapping[str, Any]:
        return {"no frame": [], "a number": 7}

    def expected_measure(self, item: Clip) -> float:
        return float(len(item.times))


def _frame(number: int) -> np.ndarray:
    columns = np.arange(32)[None, :, None] * np.array([1, 2, 3])
    return np.broadcast_to((columns + 23 * number) % 256, (24, 32, 3)).astype(np.uint8)


def _film(path: Path, count: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for number in range(count):
            for packet in stream.encode(av.VideoFrame.from_ndarray(_frame(number + count), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
