<<<<<<< HEAD
"""What the checks of the modality read: small films, written on the spot."""
=======
"""The modality's contract, on frames: `pytest --tinyllava-conformance=tinyllava-kit-video`. Files need PyAV."""
>>>>>>> main

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

<<<<<<< HEAD
import av
=======
>>>>>>> main
import numpy as np
from PIL import Image

from tinyllava_kit.testing import ModalityContract

from .video import Clip


class VideoContract(ModalityContract):
<<<<<<< HEAD
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
=======
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
>>>>>>> main
        return float(len(item.times))


def _frame(number: int) -> np.ndarray:
<<<<<<< HEAD
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
=======
    """(32, 48, 3) uint8."""
    return np.random.default_rng(number).integers(0, 256, (32, 48, 3), np.uint8)
>>>>>>> main
