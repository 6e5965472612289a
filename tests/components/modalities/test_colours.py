"""Pictures of every mode that PIL has: the values, against arithmetic on the stored numbers."""

from __future__ import annotations

import base64
import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.components.modalities.pictures import HEIGHT, WIDTH, encoded, read
from tinyllava_kit.components.modalities.image import (
    ImageModality,
)
from tinyllava_kit.errors import KitError

RANDOM = np.random.default_rng(5)
FOUR = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
GREY16 = RANDOM.integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)
GREY16[0, :3] = 300
ONE, THREE = FOUR[..., 0].copy(), FOUR[..., :3].copy()
PALETTE = Image.fromarray(THREE).quantize(20)
COLOURS = np.array(PALETTE.getpalette()).reshape(-1, 3)[np.asarray(PALETTE)].astype(float)  # (H, W, 3)
ALPHAS = RANDOM.integers(0, 256, 20, dtype=np.uint8)
CLEAR = ALPHAS[np.asarray(PALETTE)]  # (H, W)


def white(colour, alpha):
    """A colour on white paper; (H, W, 3) and (H, W)."""
    share = alpha[..., None] / 255
    return colour * share + 255 * (1 - share)


def grey(values):
    return np.repeat(np.asarray(values, float)[..., None], 3, axis=2)


def without(values, clear):
    return np.where((values == clear).all(axis=-1, keepdims=True), 255, values)


def of_ycc(values):
    y, blue, red = np.moveaxis(values.astype(float), 2, 0) - np.array([0, 128, 128])[:, None, None]
    return np.clip(np.stack([y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue], 2), 0, 255)


def of_lab(values):
    """CIE L*a*b* under D50 to sRGB."""
    light = (values[..., 0] * (100 / 255) + 16) / 116
    ab = values[..., 1:].view(np.int8).astype(float)
    roots = np.stack([light + ab[..., 0] / 500, light, light - ab[..., 1] / 200], 2)
    xyz = np.where(roots > 6 / 29, roots**3, (roots - 4 / 29) * 3 * (6 / 29) ** 2) * (0.9642, 1.0, 0.8249)
    matrix = [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.033454],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    linear = np.clip(xyz @ np.array(matrix).T, 0, 1)
    return 255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


def as_lab(colours):
    rgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.applyTransform(Image.fromarray(colours), ImageCms.buildTransform(rgb, lab, "RGB", "LAB"))


def palette_with_alpha():
    image = PALETTE.copy()
    image.info["transparency"] = ALPHAS.tobytes()
    return image.convert("PA")


LAB = as_lab(RANDOM.integers(90, 166, (HEIGHT, WIDTH, 3), dtype=np.uint8))
SIXTEEN = np.rint(GREY16 / 257)
RGBA = white(FOUR[..., :3].astype(float), FOUR[..., 3])
LA = white(grey(ONE), FOUR[..., 1])

MODES = {
    "RGBA": (Image.fromarray(FOUR), RGBA, 1),
    "RGBa": (Image.fromarray(FOUR).convert("RGBa"), RGBA, 2),
    "LA": (Image.merge("LA", [Image.fromarray(c) for c in (ONE, FOUR[..., 1].copy())]), LA, 1),
    "PA": (palette_with_alpha(), white(COLOURS, CLEAR), 1),
    "I;16": (Image.fromarray(GREY16), grey(SIXTEEN), 0),
    "I;16B": (Image.fromarray(GREY16.astype(">u2")), grey(SIXTEEN), 0),
    "I": (Image.fromarray(GREY16.astype(np.int32)), grey(SIXTEEN), 0),
    "L": (Image.fromarray(ONE), grey(ONE), 0),
    "1": (Image.fromarray(ONE > 99), grey(np.where(ONE > 99, 255, 0)), 0),
    "P": (PALETTE, COLOURS, 0),
    "YCbCr": (Image.merge("YCbCr", Image.fromarray(THREE).split()), of_ycc(THREE), 1),
    "CMYK": (
        Image.merge("CMYK", [Image.fromarray(FOUR[..., n].copy()) for n in range(4)]),
        (255.0 - FOUR[..., :3]) * (255.0 - FOUR[..., 3:]) / 255,
        1,
    ),
    "LAB": (LAB, of_lab(np.asarray(LAB)), 4),
}


def values(source):
    return np.asarray(ImageModality().read(source)).astype(float)


def saved(image, kind, **how):
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_of_any_mode_has_its_colours_on_white(mode):
    image, expected, most = MODES[mode]
    assert image.mode == mode
    assert np.abs(values(image) - expected).max() <= most


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGBA", "PNG"), ("LA", "PNG"), ("I;16", "PNG"), ("1", "PNG"), ("RGBA", "TIFF"), ("LA", "TIFF"), ("I;16", "TIFF"),
     ("CMYK", "TIFF"), ("LAB", "TIFF"), ("1", "TIFF"), ("I;16B", "TIFF"), ("P", "GIF"), ("P", "BMP")],
)  # fmt: skip
def test_a_file_gives_the_same_as_the_picture_in_it(mode, kind):
    image, expected, most = MODES[mode]
    assert np.abs(values(saved(image, kind)) - expected).max() <= most


@pytest.mark.parametrize(
    ("image", "clear", "expected"),
    [
        (Image.fromarray(GREY16), 300, np.where(GREY16[..., None] == 300, 255, grey(SIXTEEN))),
        (Image.fromarray(ONE), int(ONE[0, 0]), without(grey(ONE), grey(ONE)[0, 0])),
        (Image.fromarray(THREE), tuple(map(int, THREE[0, 0])), without(THREE, THREE[0, 0])),
        (Image.fromarray(ONE > 99), 0, np.full((HEIGHT, WIDTH, 3), 255)),
        (PALETTE, ALPHAS.tobytes(), white(COLOURS, CLEAR)),
    ],
    ids=["16 bits", "grey", "colour", "one bit", "palette"],
)
def test_a_value_that_means_transparent_is_white(image, clear, expected):
    assert np.abs(values(saved(image, "PNG", transparency=clear)) - expected).max() <= 0.5


def test_a_16_bit_value_beside_the_transparent_one_is_not():
    stored = np.array([[300, 301, 299, 44, 1068]], np.uint16)  # the last two share its low byte
    found = values(saved(Image.fromarray(stored), "PNG", transparency=300))
    assert found[0, :, 0].tolist() == [255, 1, 1, 0, 4]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    frames = [Image.new("RGBA", (WIDTH, HEIGHT), colour) for colour in ("#ff000000", "blue", "green")]
    frames[0].paste((255, 0, 0, 255), (0, 0, 3, HEIGHT))
    how = {"lossless": True} if kind == "WEBP" else {}
    found = values(saved(frames[0], kind, save_all=True, append_images=frames[1:], **how))
    assert (found[:, :3] == (255, 0, 0)).all()
    assert (found[:, 3:] == 255).all()


@pytest.mark.parametrize("call", [ImageModality().read, ImageModality().probe])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, call):
    os.mkfifo(tmp_path / "pipe.png")
    for source, message in (
        (tmp_path / "pipe.png", r"cannot open image '.*pipe\.png': is a pipe and not a file"),
        ("/dev/zero", "cannot open image '/dev/zero': is a device and not a file"),
        ("a\0.png", r"cannot open image 'a\\x00\.png': no file can have this name"),
        ("a\ud83d.png", r"cannot open image 'a\\ud83d\.png': no file can have this name"),
        ("a" * 5000, "cannot open image 'aaa.*File name too long"),
        ({"bytes": 5}, "cannot read an image from <int>"),
        ({}, "cannot read an image from <NoneType>; give a path"),
        ({"bytes": None}, "cannot read an image from <NoneType>; give a path"),
        ({"path": 5}, "cannot read an image from <int>; give a path"),
        ({"bytes": None, "path": "https://x.org/a.png"}, "'https://x.org/a.png' is an address"),
    ):
        with pytest.raises(KitError, match=message) as error:
            call(source)
        assert len(str(error.value)) < 400


def test_a_picture_as_text_is_the_picture():
    raw = saved(Image.fromarray(THREE), "PNG")
    text = base64.b64encode(raw).decode()
    for source in (
        text,
        f"data:image/png;base64,{text}",
        {"bytes": text, "path": None},
        {"url": f"data:;base64,{text}"},
    ):
        assert np.array_equal(values(source), THREE)
        assert ImageModality().probe(source).size == (WIDTH, HEIGHT)


def _png(bits: int, colours: int, row: bytes, width: int, transparent: bytes = b"") -> bytes:
    """A PNG of one row, written by hand: PIL writes no such depths."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, colours, 0, 0, 0))
    clear = chunk(b"tRNS", transparent) if transparent else b""
    return b"\x89PNG\r\n\x1a\n" + head + clear + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("bits", "row", "width", "levels"),
    [
        (1, b"\x50", 4, [0, 1, 0, 1]),
        (2, b"\x1b", 4, [0, 1, 2, 3]),
        (4, b"\x07\xf0", 4, [0, 7, 15, 0]),
        (8, b"\7\xff", 2, [7, 255]),
    ],
)
def test_a_transparent_grey_is_that_of_the_files_own_depth(bits, row, width, levels):
    for clear in levels:
        picture = ImageModality().read(_png(bits, 0, row, width, struct.pack(">H", clear)))
        expected = [255 if level == clear else round(level * 255 / (2**bits - 1)) for level in levels]
        assert [picture.getpixel((x, 0)) for x in range(width)] == [(value,) * 3 for value in expected]


def test_a_transparent_colour_of_16_bits_is_refused():
    colour = b"\x80\x01\x40\0\x20\0"
    assert ImageModality().read(_png(16, 2, colour, 1)).getpixel((0, 0)) == (128, 64, 32)
    with pytest.raises(KitError, match="16 bits a channel and a transparent colour"):
        ImageModality().read(_png(16, 2, colour, 1, colour))


def test_transparent_pixels_become_white(picture) -> None:
    alpha = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    alpha[:, 3:] = 255
    data = encoded(Image.fromarray(np.concatenate([picture, alpha], axis=2)), "PNG")
    expected = picture.copy()
    expected[:, :3] = 255
    assert np.array_equal(read(data), expected)


def test_grey_with_alpha_is_read() -> None:
    image = Image.merge("LA", [Image.new("L", (WIDTH, HEIGHT), 90), Image.new("L", (WIDTH, HEIGHT), 0)])
    assert np.all(read(encoded(image, "PNG")) == 255)


def palette_image() -> Image.Image:
    image = Image.new("P", (WIDTH, HEIGHT), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((2, 1), 0)
    return image


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palettes_are_looked_up(kind: str) -> None:
    values = read(encoded(palette_image(), kind))
    assert values[1, 2].tolist() == [255, 0, 0]
    assert values[0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"], ids=["one colour", "a table"])
def test_transparent_palette_entries_become_white(transparency: object) -> None:
    values = read(encoded(palette_image(), "PNG", transparency=transparency))
    assert values[1, 2].tolist() == [255, 255, 255]
    assert values[0, 0].tolist() == [0, 0, 255]


def test_cmyk_is_converted() -> None:
    values = read(encoded(Image.new("CMYK", (WIDTH, HEIGHT), (0, 255, 255, 0)), "TIFF"))
    assert np.all(values == (255, 0, 0))


def test_cmyk_jpeg_is_converted() -> None:
    values = read(encoded(Image.new("CMYK", (16, 16), (255, 0, 255, 0)), "JPEG", quality=100)).astype(int)
    assert np.abs(values - (0, 255, 0)).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    values = np.array([[0, 257, 128 * 257], [200 * 257 + 100, 65535, 256]], np.uint16)
    grey = read(encoded(Image.fromarray(values), kind))[..., 0]
    assert grey.tolist() == [[0, 1, 128], [200, 255, 1]]


def test_one_bit_pictures_are_black_and_white() -> None:
    image = Image.new("1", (WIDTH, HEIGHT), 1)
    image.putpixel((0, 0), 0)
    values = read(encoded(image, "PNG"))
    assert (values[0, 0, 0], values[1, 1, 1]) == (0, 255)


def test_floating_point_pictures_are_refused() -> None:
    with pytest.raises(KitError, match="holds floating-point values of unknown range"):
        read(encoded(Image.new("F", (WIDTH, HEIGHT), 0.5), "TIFF"))


def test_grey_of_more_than_sixteen_bits_is_refused() -> None:
    with pytest.raises(KitError, match="holds grey values from 70000 to 70000; save it with 8 or 16"):
        read(encoded(Image.new("I", (WIDTH, HEIGHT), 70000), "TIFF"))
