"""Pictures: what is read, what is refused, and the three aspects against TinyLLaVA_Factory's numbers."""

from __future__ import annotations

import io
import json
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from safetensors.torch import load_file

from tests.components.modalities.pictures import GOLDEN, HEIGHT, WIDTH, encoded, preprocessor, read
from tinyllava_kit import KitError
from tinyllava_kit.components.modalities import image as image_module
from tinyllava_kit.components.modalities.image import (
    MAX_PADDED_SIDE,
    ImageModality,
    best_resolution,
    cut_into_tiles,
    pad_to_square,
)
from tinyllava_kit.components.modalities.plugin import IMAGE
from tinyllava_kit.core.interfaces import Preprocessor
from tinyllava_kit.plugin.specs import load

SIZES = ["40x30", "30x41", "28x28", "20x60"]  # width x height, as the golden names say
GOLDEN_GRIDS = ((1, 2), (2, 1), (2, 2))  # its run named 28 x 56, 56 x 28 and 56 x 56 pixels


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "data" / "images.safetensors")


@pytest.fixture(scope="module")
def golden_facts() -> dict:
    return json.loads((GOLDEN / "data" / "images.json").read_text())


def pixels(modality: ImageModality, source: object, kind: str) -> torch.Tensor:
    """Source -> the rows that stand at its placeholder, (rows, 3, 28, 28)."""
    prepare = preprocessor(kind)
    items = modality.expand(modality.read(source), prepare)
    return prepare.collate([row for item in items for row in prepare(item)])["pixel_values"]


# --- the aspects, against TinyLLaVA_Factory ---


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("aspect", ["square", "pad"])
@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_square_and_pad_equal_the_golden_pixels(golden, kind: str, aspect: str, size: str) -> None:
    rows = pixels(ImageModality(aspect=aspect), golden[f"in.{size}"].numpy(), kind)
    assert torch.equal(rows[0], golden[f"out.{kind}.{aspect}.{size}"])
    assert len(rows) == 1


@pytest.mark.parametrize("size", SIZES)
def test_tiles_equal_the_golden_anyres_pixels(golden, size: str) -> None:
    prepare = preprocessor("clip")
    tiles = cut_into_tiles(ImageModality().read(golden[f"in.{size}"].numpy()), prepare.size, GOLDEN_GRIDS)
    assert torch.equal(torch.stack([prepare.pixels(tile) for tile in tiles]), golden[f"out.clip.anyres.{size}"])


def test_best_resolution_equals_the_golden_choice(golden_facts) -> None:
    resolutions = [(336, 672), (672, 336), (672, 672), (1008, 336)]
    for size, chosen in golden_facts["select_best_resolution"].items():
        width, height = size.strip("()").split(",")
        assert best_resolution((int(width), int(height)), resolutions) == tuple(chosen)


@given(st.tuples(st.integers(1, 400), st.integers(1, 400)))
def test_best_resolution_equals_a_slow_loop(size: tuple[int, int]) -> None:
    resolutions = [(28, 56), (56, 28), (56, 56), (84, 28), (28, 84)]
    best, most, least_waste = None, -1, 0
    for width, height in resolutions:
        scale = min(width / size[0], height / size[1])
        kept = min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])
        waste = width * height - kept
        if kept > most or (kept == most and waste < least_waste):
            best, most, least_waste = (width, height), kept, waste
    assert best_resolution(size, resolutions) == best


@pytest.mark.parametrize("size", SIZES)
def test_siglip_tiles_work_where_the_factory_raises(golden, golden_facts, size: str) -> None:
    """Factory's anyres asks SigLIP's processor for a crop size, which it has not."""
    assert "no attribute 'crop_size'" in golden_facts[f"siglip.anyres.{size}"]
    rows = pixels(ImageModality(aspect="tiles"), golden[f"in.{size}"].numpy(), "siglip")
    prepare = preprocessor("siglip")
    tiles = cut_into_tiles(Image.fromarray(golden[f"in.{size}"].numpy()), (28, 28))
    assert torch.equal(rows, torch.stack([prepare.pixels(tile) for tile in tiles]))
    assert rows.shape[1:] == (3, 28, 28)
    assert len(rows) > 2


def test_tiles_need_no_pinpoints_where_the_factory_raises(golden, golden_facts) -> None:
    """Factory's command line has no option for them, so that its anyres always ends in an error."""
    assert "malformed node" in golden_facts["clip.anyres.without image_grid_pinpoints (=what the CLI produces)"]
    assert len(pixels(ImageModality(aspect="tiles"), golden["in.20x60"].numpy(), "clip")) == 1 + 3


def test_tiles_put_together_are_the_scaled_picture_on_black() -> None:
    image = Image.new("RGB", (40, 30), (10, 200, 30))
    whole, *tiles = cut_into_tiles(image, (26, 28), [(2, 1)])  # tiles 28 wide and 26 high
    assert (whole.size, len(tiles)) == ((28, 26), 2)
    assert np.all(np.asarray(whole) == (10, 200, 30))
    canvas = np.concatenate([np.asarray(tile) for tile in tiles], axis=1)  # (26, 56, 3)
    expected = np.zeros((26, 56, 3), np.uint8)
    expected[:, 10:45] = (10, 200, 30)  # 40 x 30 scaled to a height of 26 is 35 wide
    assert np.array_equal(canvas, expected)


def test_every_tile_counts_as_an_item() -> None:
    prepare = preprocessor("clip")
    items = ImageModality(aspect="tiles").expand(Image.new("RGB", (20, 60)), prepare)
    assert [prepare.num_features(item) for item in items] == [[4], [4], [4], [4]]
    assert [len(prepare(item)) for item in items] == [1, 1, 1, 1]


def test_padding_a_huge_picture_reduces_it_first() -> None:
    padded = pad_to_square(Image.new("RGB", (6000, 60), (255, 0, 0)), (0.5, 0.5, 0.5))
    assert padded.size == (MAX_PADDED_SIDE, MAX_PADDED_SIDE)
    assert padded.getpixel((9, MAX_PADDED_SIDE // 2)) == (255, 0, 0)
    assert padded.getpixel((9, 9)) == (127, 127, 127)


def test_an_unknown_aspect_is_refused_with_the_near_one() -> None:
    with pytest.raises(KitError, match="aspect got 'tile'; did you mean 'tiles'"):
        ImageModality(aspect="tile")


@pytest.mark.parametrize("aspect", ["pad", "tiles"])
def test_an_aspect_that_needs_the_towers_size_says_so(aspect: str) -> None:
    class Plain(Preprocessor):
        def __call__(self, item): ...
        def num_features(self, item): ...
        def settings(self): ...
        @classmethod
        def from_settings(cls, settings): ...

    with pytest.raises(KitError, match=f"'{aspect}' needs a preprocessor that tells its size .* got Plain; use"):
        ImageModality(aspect=aspect).expand(Image.new("RGB", (3, 2)), Plain())


def test_the_spec_leads_to_the_modality_with_its_options() -> None:
    modality = load(IMAGE)(**IMAGE.check_options({}, "test"))
    assert isinstance(modality, ImageModality)
    assert modality.aspect == "square"
    assert IMAGE.token.placeholder == "<image>"


# --- preprocessors ---


# --- what can be read ---


def test_every_kind_of_source_gives_the_same_picture(picture, tmp_path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(picture), "PNG"))
    sources = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), Image.fromarray(picture), picture]
    with path.open("rb") as file:
        for source in [*sources, file]:
            assert np.array_equal(read(source), picture)


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM", "PNG", "WEBP"])
def test_lossless_formats_are_read_exactly(picture, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(read(encoded(Image.fromarray(picture), kind, **options)), picture)


def test_the_picture_does_not_change_with_the_array(picture) -> None:
    image = ImageModality().read(picture)
    before = np.asarray(image).copy()
    picture[:] = 0
    assert np.array_equal(np.asarray(image), before)


def test_grey_and_transparent_arrays_are_read(picture) -> None:
    grey = picture[..., 0]
    assert np.array_equal(read(grey), np.repeat(grey[..., None], 3, axis=2))
    opaque = np.concatenate([picture, np.full_like(picture[..., :1], 255)], axis=2)
    assert np.array_equal(read(opaque), picture)


# What each EXIF orientation does to stored rows and columns, to show them upright.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a[::-1].transpose(1, 0, 2),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a[:, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_orientation_is_applied(picture, orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(picture), kind, exif=exif)
    assert np.array_equal(read(data), UPRIGHT[orientation](picture))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_a_probe_is_upright_like_the_picture(orientation: int, kind: str, monkeypatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.new("RGB", (16, 8)), kind, exif=exif)
    size = ImageModality().read(data).size
    if kind != "TIFF":
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)  # nothing is decoded
    assert ImageModality().probe(data).size == size


@pytest.mark.parametrize(("orientation", "size"), [(1, (WIDTH, HEIGHT)), (6, (HEIGHT, WIDTH))])
def test_an_orientation_behind_the_pixels_of_a_png_is_found(picture, orientation: int, size) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain, marked = (encoded(Image.fromarray(picture), "PNG", **how) for how in ({}, {"exif": exif}))
    at, end = marked.index(b"eXIf") - 4, plain.rindex(b"IEND") - 4
    chunk = marked[at : at + 12 + int.from_bytes(marked[at : at + 4], "big")]
    data = plain[:end] + chunk + plain[end:]
    assert ImageModality().read(data).size == ImageModality().probe(data).size == size


@pytest.mark.parametrize("aspect", ["square", "pad", "tiles"])
@pytest.mark.parametrize("size", [(40, 30), (30, 41), (28, 28), (20, 60), (190, 1), (MAX_PADDED_SIDE + 4, 40)])
def test_a_probe_becomes_as_many_parts_of_the_same_sizes(aspect: str, size: tuple[int, int]) -> None:
    modality, prepare = ImageModality(aspect=aspect), preprocessor("clip")
    data = encoded(Image.new("RGB", size), "PNG")
    parts = modality.expand(modality.read(data), prepare)
    probes = modality.expand(modality.probe(data), prepare)
    assert [part.size for part in parts] == [(part.width, part.height) for part in probes]
    assert [prepare.num_features(part) for part in parts] == [prepare.num_features(part) for part in probes]


def test_a_probe_of_any_source_is_its_size_and_its_own_probe(picture, tmp_path) -> None:
    Image.fromarray(picture).save(tmp_path / "a.png")
    for source in (str(tmp_path / "a.png"), picture, Image.fromarray(picture), {"bytes": None, "path": "a"}):
        if isinstance(source, dict):
            source["bytes"] = (tmp_path / "a.png").read_bytes()
        probe = ImageModality().probe(source)
        assert probe.size == (WIDTH, HEIGHT)
        assert ImageModality().probe(probe) is probe


def test_a_probe_refuses_what_its_header_shows(tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    for source, message in ((tmp_path / "a.png", "cannot read image"), (tmp_path / "no.png", "does not exist")):
        with pytest.raises(KitError, match=message):
            ImageModality().probe(source)


def test_exif_orientation_of_a_jpeg_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read(encoded(Image.new("RGB", (16, 8)), "JPEG", exif=exif)).shape == (16, 8, 3)


@pytest.mark.parametrize(
    "exif", [b"garbage", b"II*\x00\x08\x00\x00\x00\xff\xff\x12\x01", b"II*\x00\xff\xff\xff\x7f"], ids=repr
)
def test_damaged_exif_is_ignored(picture, exif: bytes) -> None:
    assert np.array_equal(read(encoded(Image.fromarray(picture), "PNG", exif=b"Exif\x00\x00" + exif)), picture)


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "lime", "blue")]
    assert np.all(read(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])) == (255, 0, 0))


# --- what is refused, each with one line that names the file ---


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(KitError, match=r"image '.*gone\.png' does not exist; give the path"):
        read(tmp_path / "gone.png")


def test_a_directory_is_not_a_picture(tmp_path) -> None:
    with pytest.raises(KitError, match=r"image '.*' is not a file; give the path"):
        read(tmp_path)


def test_an_address_is_not_fetched() -> None:
    with pytest.raises(KitError, match=r"'http://example\.org/a\.png' is an address; download it"):
        read("http://example.org/a.png")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"], ids=repr)
def test_what_is_no_picture_is_named(tmp_path, content: bytes) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(KitError, match=r"cannot read image '.*bad\.png': ."):
        read(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"])
def test_a_truncated_file_is_named(tmp_path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    path = tmp_path / "cut"
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(KitError, match=r"cannot read image '.*cut': .") as error:
            read(path)
        assert "\n" not in str(error.value)


def test_damaged_bytes_give_a_picture_or_one_line() -> None:
    rng = np.random.default_rng(11)
    image = Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8))
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM"):
        clean = np.frombuffer(encoded(image, kind), np.uint8)
        for _ in range(60):
            data = clean.copy()
            data[rng.integers(0, min(len(data), 400), 3)] = rng.integers(0, 256, 3)
            try:
                read(data.tobytes())
            except KitError as error:
                assert "\n" not in str(error)  # noqa: PT017  # either way is right; the line is what is checked


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size, without pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("side", "message"),
    [(10_001, "is too large: 10001 x 10001 pixels, at most"), (60_001, ".*exceeds limit")],
    ids=["over our limit", "over PIL's"],
)
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch, side: int, message: str) -> None:
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda self: pytest.fail("it was decoded"))
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    with pytest.raises(KitError, match=r"image '.*bomb\.png':? " + message):
        read(path)


def test_a_picture_as_thin_as_a_thread_is_refused() -> None:
    with pytest.raises(KitError, match="is too thin: 1 x 201 pixels, the longer side may be 200 times"):
        read(np.zeros((201, 1, 3), np.uint8))


def test_an_empty_picture_is_refused() -> None:
    with pytest.raises(KitError, match="is empty: 0 x 5 pixels"):
        read(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.zeros((5, 7, 3)), r"got float64 of shape \(5, 7, 3\)"),
        (np.zeros((3, 5, 7), np.uint8), r"got uint8 of shape \(3, 5, 7\)"),
        (np.zeros((2, 5, 7, 3), np.uint8), r"got uint8 of shape \(2, 5, 7, 3\)"),
    ],
)
def test_an_array_of_another_shape_or_type_is_refused(array: np.ndarray, got: str) -> None:
    with pytest.raises(KitError, match="an image array must be uint8 of shape .*" + got):
        read(array)


def test_something_else_is_refused() -> None:
    with pytest.raises(KitError, match="cannot read an image from <int>; give a path"):
        read(3)


def test_formats_that_would_start_a_program_are_not_opened() -> None:
    """PIL decodes EPS with Ghostscript."""
    assert "EPS" not in image_module.FORMATS
    with pytest.raises(KitError, match="damaged, or not one of JPEG, PNG"):
        read(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 7 5\n%%EndComments\n")


def test_what_a_picture_takes_is_known_from_its_header(tmp_path):
    Image.new("L", (31, 17)).save(tmp_path / "a.png")
    modality = ImageModality()
    probe, whole = modality.probe(tmp_path / "a.png"), modality.read(tmp_path / "a.png")
    assert modality.decoded_bytes(probe) == modality.decoded_bytes(whole) == np.asarray(whole).nbytes
