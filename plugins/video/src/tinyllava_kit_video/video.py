"""The modality: which frames of a video are taken, and how a tower for pictures gets them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from tinyllava_kit import KitError
from tinyllava_kit.components import ImageInfo, ImageModality, clock
from tinyllava_kit.interfaces import Grid, Modality, Preprocessor

MAX_FRAMES = 512


@dataclass(frozen=True)
class Clip:
    """The frames of a video that are taken, upright and RGB, or stand-ins of their size.

    times: when each is seen, in seconds.
    """

    frames: tuple[Image.Image | ImageInfo, ...]
    times: tuple[float, ...]
    name: str = "video"


class VideoModality(Modality):
    """Videos, as `Clip`.

    Args:
        frames: how many frames are taken, at even distances; all where there are fewer.
        rate: so many a second are taken in place of that, at most `MAX_FRAMES`.
        times: the time of each frame stands before it.
        fps: of frames without a file: how many are a second.
    """

    unit = "frames"

    def __init__(self, *, frames: int = 8, rate: float | None = None, times: bool = True, fps: float = 1.0) -> None:
        self.frames, self.rate, self.times, self.fps = frames, rate, times, fps
        self.pictures = ImageModality()

    def read(self, source: Any) -> Clip:
        """A path of a file or of a folder of pictures, or a list of pictures -> the frames that are taken.

        Raises:
            KitError: missing, damaged, without a frame, or PyAV is not installed; names the file.
        """
        return self._clip(source, whole=True)

    def probe(self, source: Any) -> Clip:
        """As `read`, with the sizes of the frames in their places; of a file by its header and its first frame."""
        return self._clip(source, whole=False)

    def measure(self, source: Any) -> float:
        """How many frames are taken."""
        return float(len(source.frames) if isinstance(source, Clip) else len(self.probe(source).frames))

    def expand(self, item: Clip, preprocessor: Preprocessor) -> list[Any]:
        """Each frame, the time of it before it."""
        if not self.times:
            return list(item.frames)
        return [part for time, frame in zip(item.times, item.frames, strict=True) for part in (clock(time), frame)]

    def blank(self, item: Clip) -> Clip:
        """The same length of plain grey."""
        return Clip(
            tuple(Image.new("RGB", frame.size, (128, 128, 128)) for frame in item.frames), item.times, item.name
        )

    def draw(self, axes: Any, item: Any, preprocessor: Preprocessor, num_features: int, grid: Grid | None) -> Any:
        """A frame, as pictures are drawn."""
        return self.pictures.draw(axes, item, preprocessor, num_features, grid)

    def choose(self, count: int, seconds: float) -> list[int]:
        """The numbers of the frames that are taken, of `count` that last so many seconds."""
        wanted = self.frames if self.rate is None else min(max(1, round(seconds * self.rate)), MAX_FRAMES)
        wanted = min(wanted, count)
        return [(2 * number + 1) * count // (2 * wanted) for number in range(wanted)]

    def _clip(self, source: Any, *, whole: bool) -> Clip:
        if isinstance(source, Clip):
            return source
        if isinstance(source, (list, tuple)):
            return self._of_pictures(source, "video", whole=whole)
        if not isinstance(source, (str, os.PathLike)):
            raise KitError(f"cannot read a video from {type(source).__name__}; give a path or a list of frames")
        path = Path(source)
        if path.is_dir():
            return self._of_pictures(_pictures_in(path), str(path), whole=whole)
        if not path.is_file():
            raise KitError(f"video {str(path)!r} does not exist; give the path of a video")
        return self._of_file(path, whole=whole)

    def _of_pictures(self, pictures: Sequence[Any], name: str, *, whole: bool) -> Clip:
        if not pictures:
            raise KitError(f"{name}: a video needs at least one frame")
        chosen = self.choose(len(pictures), len(pictures) / self.fps)
        read = self.pictures.read if whole else self.pictures.probe
        return Clip(tuple(read(pictures[n]) for n in chosen), tuple(n / self.fps for n in chosen), name)

    def _of_file(self, path: Path, *, whole: bool) -> Clip:
        from .files import decode, header

        found = header(path)
        chosen = self.choose(found.count, found.count / found.fps)
        times = tuple(number / found.fps for number in chosen)
        if whole:
            return Clip(tuple(decode(path, chosen)), times, str(path))
        return Clip((ImageInfo(next(decode(path, [0])).size),) * len(chosen), times, str(path))


def _pictures_in(folder: Path) -> list[Path]:
    endings = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in endings)
