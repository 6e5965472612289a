"""Video files, by PyAV: how many frames there are, and the frames of some numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from tinyllava_kit import KitError
from tinyllava_kit.files import first_line

SLACK = 2  # frames that a header may promise and that are not there: some cameras count their last ones


@dataclass(frozen=True)
class Header:
    """How many frames a file has, and how many are a second."""

    count: int
    fps: float


def header(path: Path) -> Header:
    """Read the number of frames of a video and its frames per second, without decoding one.

    Raises:
        KitError: PyAV is not installed, or the file has no video; names it.
    """
    with _opened(path) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate or 25
        count = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
        if count < 1:
            raise KitError(f"video {str(path)!r} has no frame")
        return Header(count, float(rate))


def decode(path: Path, numbers: Sequence[int]) -> Iterator[Image.Image]:
    """The frames of these numbers, which rise, upright and RGB.

    Raises:
        KitError: damaged, or frames are missing; names the file.
    """
    waiting, last, seen = list(numbers), None, 0
    with _opened(path) as (container, stream):
        for seen, frame in enumerate(container.decode(stream), 1):
            last = frame
            while waiting and waiting[0] == seen - 1:
                del waiting[0]
                yield _upright(frame)
            if not waiting:
                return
    if last is None or waiting[0] >= seen + SLACK:
        raise KitError(
            f"video {str(path)!r}: its header tells of at least {waiting[-1] + 1} frames, {seen} can be decoded; "
            "the file is damaged"
        )
    for _ in waiting:
        yield _upright(last)


def _upright(frame: Any) -> Image.Image:
    """As the camera was held."""
    picture: Image.Image = frame.to_image()
    return picture.rotate(turn, expand=True) if (turn := getattr(frame, "rotation", 0)) else picture


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    try:
        import av
    except ImportError as error:
        raise KitError(f"video {str(path)!r} needs PyAV; pip install 'tinyllava-kit-video[files]'") from error
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise KitError(f"{str(path)!r} has no video in it")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield container, stream
    except (av.FFmpegError, OSError, ValueError) as error:
        raise KitError(f"cannot read video {str(path)!r}: {first_line(error)}") from error
