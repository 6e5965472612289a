"""The modalities that the kit ships."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.plugin.specs import ModalitySpec, Option, TokenType

IMAGE = ModalitySpec(
    name="image",
    target="tinyllava_kit.components.modalities.image:ImageModality",
    contract="tinyllava_kit.testing.own_modalities:ImageContract",
    summary="pictures: files, PIL images, (H, W, 3) uint8 arrays",
    token=TokenType(placeholder="<image>"),
    suffixes=(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"),
    options=(
        Option(
            name="aspect",
            default="square",
            choices=("square", "pad", "tiles"),
            help="square: as the tower crops or squeezes; pad: to a square first; tiles: the whole, then its parts",
        ),
    ),
)

AUDIO = ModalitySpec(
    name="audio",
    target="tinyllava_kit.components.modalities.audio:AudioModality",
    contract="tinyllava_kit.testing.own_modalities:AudioContract",
    summary="sounds: files that soundfile decodes, arrays of samples with their rate",
    token=TokenType(placeholder="<audio>"),
    suffixes=(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"),
    packages=("soundfile",),
    verb="speak",
    options=(
        Option(
            name="marker_seconds",
            type=float,
            default=0.0,
            help="write the time before every so many seconds of a sound; 0: never",
        ),
    ),
)


@hookimpl
def tinyllava_modalities() -> tuple[ModalitySpec, ...]:
    """Pictures and sounds."""
    return (IMAGE, AUDIO)
