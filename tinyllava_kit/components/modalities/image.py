"""Pictures: reading them safely, making them square or cutting them into tiles, and their preprocessors' base.

Legend: H, W height and width of a tower's input in pixels.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from torch import Tensor

from tinyllava_kit.core.interfaces import Grid, Modality, Preprocessor
from tinyllava_kit.errors import KitError, near, shown
from tinyllava_kit.files.failures import first_line
from tinyllava_kit.files.item_sources import decoded, is_address
from tinyllava_kit.files.opening import open_file, reason

from .colours import scale_transparent_value, to_rgb

ASPECTS = ("square", "pad", "tiles")

# Formats that decode in this process; PIL's others may start a program (EPS starts Ghostscript).
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", "WEBP")
MAX_PIXELS = 100_000_000  # 300 MB as RGB
MAX_RATIO = 200  # of the sides: a tower that scales the shorter side would make a huge picture of a thread
MAX_PADDED_SIDE = 4096  # a longer picture is reduced before it is padded: 50 MB at most

# LLaVA-1.6's grids of tiles, (columns, rows).
TILE_GRIDS = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))

_PNG_SIGNATURE, _PNG_CHECKSUM = 8, 4  # bytes


class ImagePreprocessor(Preprocessor):
    """Base of image towers' preprocessors: one picture, one row, ``pixel_values`` (3, H, W)."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """(height, width) of the tower's input, in pixels."""

    @property
    @abstractmethod
    def mean(self) -> tuple[float, float, float]:
        """The mean colour in 0..1, red, green, blue: what aspect "pad" fills with."""

    @property
    @abstractmethod
    def features_per_image(self) -> int:
        """How many features the tower gives for a picture of its size."""

    @property
    def fixed_features(self) -> int:
        return self.features_per_image

    @abstractmethod
    def pixels(self, image: Image.Image) -> Tensor:
        """An RGB picture of any size -> (3, H, W) float32, normalised."""

    def __call__(self, item: Image.Image) -> list[dict[str, Tensor]]:
        return [{"pixel_values": self.pixels(item)}]

    def num_features(self, item: Image.Image) -> list[int]:
        return [self.features_per_image]


@dataclass(frozen=True)
class ImageInfo:
    """A picture's probe: its size alone. size: (width, height) in pixels, upright, as PIL's."""

    size: tuple[int, int]

    @property
    def width(self) -> int:
        """In pixels."""
        return self.size[0]

    @property
    def height(self) -> int:
        """In pixels."""
        return self.size[1]

    def padded(self) -> ImageInfo:
        """Of what `pad_to_square` makes."""
        side = self.width if self.width == self.height else min(max(self.size), MAX_PADDED_SIDE)
        return ImageInfo((side, side))

    def tiles(self, size: tuple[int, int]) -> list[ImageInfo]:
        """Of what `cut_into_tiles` makes; size: (height, width) of a tile."""
        height, width = size
        across, down = best_resolution(self.size, _resolutions(size, TILE_GRIDS))
        return [ImageInfo((width, height))] * (1 + (across // width) * (down // height))


class ImageModality(Modality):
    """Pictures, as RGB `PIL.Image.Image`.

    Args:
        aspect: ``square``: the picture, unchanged: the tower's preprocessing makes it square; ``pad``: padded to a
            square with the tower's mean colour (LLaVA-1.5); ``tiles``: the whole picture, then the tiles of the
            grid that fits it best (LLaVA-1.6 "anyres"), each a separate item.

    Raises:
        KitError: there is no such aspect.
    """

    def __init__(self, *, aspect: str = "square") -> None:
        if aspect not in ASPECTS:
            raise KitError(f"image: aspect got {aspect!r}; {near(aspect, ASPECTS)}")
        self.aspect = aspect

    def read(self, source: Any) -> Image.Image:
        """A path, bytes, a binary file object, a PIL image or a uint8 array -> an RGB picture, upright.

        ``{"bytes": ..., "path": ...}``, an undecoded row of Hugging Face datasets, is one of the first two; base64 and
        ``data:`` URLs are bytes.

        Arrays are (H, W), (H, W, 3) or (H, W, 4). Of several frames the first is taken; what is transparent
        becomes white; 16-bit grey is scaled to 8 bits.

        Raises:
            KitError: missing, damaged, too large, of a format or mode that cannot be read; names the file.
        """
        with _opened(source) as (image, name):
            scale_transparent_value(image, name)
            image.load()
            return to_rgb(_upright(image), name)

    def probe(self, source: Any) -> ImageInfo:
        """The size of what `read` gives, from the file's header.

        Raises:
            KitError: as `read`, but not for faults of the pixels.
        """
        if isinstance(source, ImageInfo):
            return source
        with _opened(source) as (image, _):
            return ImageInfo(_upright_size(image))

    def decoded_bytes(self, item: Image.Image | ImageInfo) -> int:
        """Of its pixels, three bytes each."""
        return 3 * item.width * item.height

    def blank(self, item: Image.Image) -> Image.Image:
        """Plain grey of the same size."""
        return Image.new("RGB", item.size, (128, 128, 128))

    def expand(self, item: Image.Image | ImageInfo, preprocessor: Preprocessor) -> list[Any]:
        """`item` alone, padded or not, or the whole picture and then its tiles, row by row; of a probe, their probes.

        Raises:
            KitError: the aspect needs the tower's size or mean, and its preprocessor does not tell.
        """
        if self.aspect == "square":
            return [item]
        if not isinstance(preprocessor, ImagePreprocessor):
            raise KitError(
                f"image: aspect {self.aspect!r} needs a preprocessor that tells its size and mean colour "
                f"(an ImagePreprocessor), got {type(preprocessor).__name__}; use aspect 'square'"
            )
        if isinstance(item, ImageInfo):
            return [item.padded()] if self.aspect == "pad" else item.tiles(preprocessor.size)
        if self.aspect == "pad":
            return [pad_to_square(item, preprocessor.mean)]
        return cut_into_tiles(item, preprocessor.size)

    def draw(
        self, axes: Any, item: Image.Image, preprocessor: Preprocessor, num_features: int, grid: Grid | None
    ) -> np.ndarray | None:
        """The picture as the tower sees it, and the patches of its raster.

        Of a preprocessor that is no `ImagePreprocessor` nobody knows what the tower sees: the picture, unchanged, and
        no places.
        """
        axes.set_axis_off()
        if not isinstance(preprocessor, ImagePreprocessor):
            axes.imshow(item)
            return None
        seen = as_seen(item, preprocessor)  # (H, W, 3)
        height, width = seen.shape[:2]
        axes.imshow(seen, extent=(0, width, height, 0))
        if grid is None or grid[0] * grid[1] != num_features:
            return None
        row, column = np.divmod(np.arange(num_features), grid[1])
        tall, wide = height / grid[0], width / grid[1]
        return np.stack([column * wide, row * tall, (column + 1) * wide, (row + 1) * tall], axis=1)  # (P, 4)


def as_seen(image: Image.Image, preprocessor: ImagePreprocessor) -> np.ndarray:
    """What a tower gets of an RGB picture, its normalisation undone, (H, W, 3) in 0..1.

    What it undoes is read off a black and a white picture of the same size.
    """
    black, white = (preprocessor.pixels(Image.new("RGB", image.size, colour)) for colour in ("black", "white"))
    low, high = (pixels.flatten(1) for pixels in (black, white))  # each (3, H * W)
    low, high = low.amin(1)[:, None, None], high.amax(1)[:, None, None]  # each (3, 1, 1)
    seen = (preprocessor.pixels(image) - low) / (high - low)  # (3, H, W)
    return seen.clamp(0, 1).permute(1, 2, 0).numpy()  # (H, W, 3)


def pad_to_square(image: Image.Image, mean: tuple[float, float, float]) -> Image.Image:
    """The picture in the middle of a square of the colour `mean` (0..1), as LLaVA-1.5 does.

    A picture with a side over `MAX_PADDED_SIDE` is reduced to it first.
    """
    if image.width == image.height:
        return image
    side = max(image.size)
    if side > MAX_PADDED_SIDE:
        image = ImageOps.contain(image, (MAX_PADDED_SIDE, MAX_PADDED_SIDE))
        side = MAX_PADDED_SIDE
    red, green, blue = (int(channel * 255) for channel in mean)
    return _centred(image, (side, side), (red, green, blue))


def cut_into_tiles(
    image: Image.Image, size: tuple[int, int], grids: Sequence[tuple[int, int]] = TILE_GRIDS
) -> list[Image.Image]:
    """The whole picture squeezed to `size`, then its tiles: LLaVA-1.6's "anyres" preprocessing.

    Args:
        image: RGB.
        size: (height, width) of a tile.
        grids: (columns, rows) to choose from; the first of equally good ones is taken.

    Returns:
        1 + columns * rows pictures, each of `size`; the tiles row by row, black where the picture does not reach.
    """
    height, width = size
    target = best_resolution(image.size, _resolutions(size, grids))
    canvas = _centred(_fitted(image, target), target, (0, 0, 0))
    corners = [(x, y) for y in range(0, target[1], height) for x in range(0, target[0], width)]
    tiles = [canvas.crop((x, y, x + width, y + height)) for x, y in corners]
    return [image.resize((width, height), Image.Resampling.BICUBIC), *tiles]


def _resolutions(size: tuple[int, int], grids: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The (width, height) of each grid of tiles of `size`, (height, width)."""
    height, width = size
    return [(columns * width, rows * height) for columns, rows in grids]


def best_resolution(size: tuple[int, int], resolutions: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The resolution that keeps most of a picture's pixels and, among those, wastes the least; all (width, height).

    Example:
        >>> best_resolution((640, 480), [(336, 672), (672, 336), (672, 672)])
        (672, 672)
    """
    width, height = size

    def merit(resolution: tuple[int, int]) -> tuple[int, int]:
        scale = min(resolution[0] / width, resolution[1] / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        return kept, kept - resolution[0] * resolution[1]

    return max(resolutions, key=merit)


def _fitted(image: Image.Image, target: tuple[int, int]) -> Image.Image:
    """The picture scaled until one side fills `target`, (width, height)."""
    across, down = target[0] / image.width, target[1] / image.height
    if across < down:
        size = target[0], min(math.ceil(image.height * across), target[1])
    else:
        size = min(math.ceil(image.width * down), target[0]), target[1]
    return image.resize(size, Image.Resampling.BICUBIC)


def _centred(image: Image.Image, size: tuple[int, int], colour: tuple[int, int, int]) -> Image.Image:
    canvas = Image.new("RGB", size, colour)
    canvas.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return canvas


def _name(source: Any) -> str:
    """How a message calls the source."""
    if isinstance(source, (str, os.PathLike)):
        return shown(os.fspath(source))
    name = getattr(source, "name", None) or getattr(source, "filename", None)
    return shown(name) if isinstance(name, str) else f"<{type(source).__name__}>"


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turn what decoders raise into one line that names the file; their warnings are not the user's business."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            yield
        except KitError:
            raise
        except UnidentifiedImageError as error:
            raise KitError(f"cannot read image {name}: damaged, or not one of {', '.join(FORMATS)}") from error
        except Exception as error:  # a decoder that meets damaged bytes may raise anything
            raise KitError(f"cannot read image {name}: {first_line(error)}") from error


@contextmanager
def _opened(source: Any) -> Iterator[tuple[Image.Image, str]]:
    """The picture, not yet decoded, and how messages call it; the file that is opened for it is closed at the end."""
    source = decoded(source, "image")
    name = _name(source)
    if isinstance(source, Mapping) and source.keys() <= {"bytes", "path"}:
        name = _name(source.get("path") or source.get("bytes"))
        source = source.get("path") if source.get("bytes") is None else source["bytes"]
    with _decoding(name), ExitStack() as files:
        image = _open(source, name, files)
        _check_size(image, name)
        yield image, name


def _open(source: Any, name: str, files: ExitStack) -> Image.Image:
    """The picture, not yet decoded; a file that is opened for it is closed with `files`."""
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return Image.open(io.BytesIO(source), formats=FORMATS)
    if isinstance(source, (str, os.PathLike)):
        return Image.open(files.enter_context(_open_file(os.fspath(source), name)), formats=FORMATS)
    if hasattr(source, "read"):
        return Image.open(source, formats=FORMATS)
    raise KitError(
        f"cannot read an image from {name}; give a path, bytes, base64 or a data: URL, a binary file, a PIL image or a "
        "uint8 array"
    )


def _open_file(path: str, name: str) -> BinaryIO:
    if is_address(path):
        raise KitError(f"image {name} is an address; download it and give the file")
    try:
        return open_file(path)
    except FileNotFoundError as error:
        raise KitError(f"image {name} does not exist; give the path of a picture") from error
    except IsADirectoryError as error:
        raise KitError(f"image {name} is not a file; give the path of a picture") from error
    except OSError as error:
        raise KitError(f"cannot open image {name}: {reason(error)}") from error


def _from_array(array: np.ndarray) -> Image.Image:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and channels not in (3, 4)):
        raise KitError(
            f"an image array must be uint8 of shape (H, W), (H, W, 3) or (H, W, 4), "
            f"got {array.dtype} of shape {array.shape}"
        )
    return Image.fromarray(array)


def _check_size(image: Image.Image, name: str) -> None:
    """Refuse what would fill the memory, before it is decoded."""
    width, height = image.size
    if not width or not height:
        raise KitError(f"image {name} is empty: {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise KitError(
            f"image {name} is too large: {width} x {height} pixels, at most {MAX_PIXELS} are read; reduce it"
        )
    if max(width, height) > MAX_RATIO * min(width, height):
        raise KitError(
            f"image {name} is too thin: {width} x {height} pixels, the longer side may be {MAX_RATIO} times the "
            f"shorter at most; crop it"
        )


def _upright(image: Image.Image) -> Image.Image:
    """Turned as the camera's EXIF orientation says; damaged EXIF says nothing."""
    with suppress(Exception):
        return ImageOps.exif_transpose(image)
    return image


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """The size of `_upright`, without decoding it where the header suffices."""
    # PIL's versions differ in whether the size of a TIFF that was not decoded is upright.
    if image.format == "TIFF" or (isinstance(image, PngImageFile) and _says_more_behind(image)):
        return _upright(image).size
    orientation = 1
    with suppress(Exception):
        # A PNG's own getexif decodes the picture to see what stands behind it.
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    width, height = image.size
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def _says_more_behind(image: PngImageFile) -> bool:
    """Whether a PNG may hold its orientation behind the pixels."""
    file = image.fp
    if file is None:  # decoded already
        return True
    start = file.tell()
    try:
        file.seek(_PNG_SIGNATURE)
        behind = False
        while len(head := file.read(8)) == 8:
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            if behind and kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
                return True
            behind |= kind == b"IDAT"
            file.seek(length + _PNG_CHECKSUM, os.SEEK_CUR)
        return False
    finally:
        file.seek(start)
