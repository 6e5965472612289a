"""A picture in RGB, whatever its colours, bits and transparency were."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from tinyllava_kit.errors import KitError

_GREY_STEPS = {"L;2": 85, "L;4": 17}  # between levels of grey of 2 and 4 bits, in 8 bits
_SIXTEEN_BITS = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def to_rgb(image: Image.Image, name: str) -> Image.Image:
    """The picture in RGB, on white where it is transparent.

    Raises:
        KitError: floating-point values, whose range nobody knows.
    """
    if image.mode in _SIXTEEN_BITS:
        return _from_sixteen_bits(image, name)
    if image.mode == "F":
        raise KitError(f"image {name} holds floating-point values of unknown range; save it with 8 or 16 bits")
    if image.mode == "LAB":
        transformed = ImageCms.applyTransform(image, _from_lab())
        assert transformed is not None  # it is not done in place
        return transformed
    if image.mode == "La":  # PIL takes its premultiplied grey no further than this
        image = image.convert("LA")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return image.convert("RGB")


def scale_transparent_value(image: Image.Image, name: str) -> None:
    """A PNG writes its transparent value at the file's depth; PIL compares it with values that it has scaled to 8 bits.

    Raises:
        KitError: a colour of 16 bits a channel, whose lower halves PIL drops.
    """
    clear = image.info.get("transparency")
    if image.format != "PNG" or clear is None or not (tiles := getattr(image, "tile", None)):
        return
    stored = tiles[0][3]
    stored = stored if isinstance(stored, str) else stored[0]
    if stored in _GREY_STEPS and isinstance(clear, int):
        image.info["transparency"] = clear * _GREY_STEPS[stored]
    if stored == "RGB;16B":
        raise KitError(
            f"image {name} has 16 bits a channel and a transparent colour, which cannot be told from its neighbours; "
            "save it with 8 bits a channel, or with an alpha channel"
        )


def _from_sixteen_bits(image: Image.Image, name: str) -> Image.Image:
    """16-bit grey to 8 bits, where one value may mean transparent; PIL's own conversion clips at 255 instead."""
    values = np.asarray(image)  # (H, W)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise KitError(f"image {name} holds grey values from {low} to {high}; save it with 8 or 16 bits")
    grey = np.rint(values / 257).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255
    return Image.fromarray(grey).convert("RGB")


@lru_cache(maxsize=1)
def _from_lab() -> ImageCms.ImageCmsTransform:
    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, rgb, "LAB", "RGB")
