"""What this distribution offers: the modality `video`."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.specs import ModalitySpec, Option, TokenType

VIDEO = ModalitySpec(
    name="video",
    target="tinyllava_kit_video.video:VideoModality",
    contract="tinyllava_kit_video.contract:VideoContract",
    summary="videos: files that PyAV decodes, folders and lists of frames",
    token=TokenType(placeholder="<video>"),
    suffixes=(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts"),
    parts_of="image",
    options=(
        Option(name="frames", type=int, default=8, at_least=1, at_most=512, help="how many frames, at even distances"),
        Option(name="rate", type=float, above=0, help="frames a second, in place of a number"),
        Option(name="times", type=bool, default=True, help="the time of each frame before it, as text"),
        Option(name="fps", type=float, default=1.0, above=0, help="of frames without a file: how many are a second"),
    ),
)


@hookimpl
def tinyllava_modalities() -> tuple[ModalitySpec, ...]:
    """Videos, as frames with their times."""
    return (VIDEO,)
