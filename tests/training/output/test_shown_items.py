"""Items as a page shows them."""

from __future__ import annotations

import base64
import io
import wave

import pytest
from PIL import Image

from tinyllava_kit.core.conversation import Item
from tinyllava_kit.training.output.shown_items import shown_item


def opened(shown) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(shown.uri.partition("base64,")[2])))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "RGBA", "I;16"])
@pytest.mark.parametrize("given", ["file", "picture", "bytes"])
def test_a_picture_is_small_and_keeps_its_shape(tmp_path, mode, given):
    picture = Image.new(mode, (1024, 512))
    file = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    picture.save(file)
    source = {"file": str(file), "picture": picture, "bytes": file.read_bytes()}[given]
    shown = shown_item(Item("image", source))
    assert (shown.tag, opened(shown).size) == ("img", (256, 128))
    assert shown.alt == (file.name if given == "file" else "")


def test_a_sound_is_played_as_it_is(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(800))
    shown = shown_item(Item("audio", str(tmp_path / "a.wav")))
    assert (shown.tag, shown.alt) == ("audio", "a.wav")
    assert base64.b64decode(shown.uri.partition("base64,")[2]) == (tmp_path / "a.wav").read_bytes()


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n cut"])
def test_what_cannot_be_shown_is_not(tmp_path, content):
    (tmp_path / "a.bin").write_bytes(content)
    assert shown_item(Item("image", str(tmp_path / "a.bin"))) is None
    assert shown_item(Item("image", content)) is None
    assert shown_item(Item("image", str(tmp_path / "no.png"))) is None
    assert shown_item(Item("image", object())) is None


def test_a_long_sound_is_named_alone(tmp_path):
    (tmp_path / "a.wav").write_bytes(bytes(1_000_001))
    assert shown_item(Item("audio", str(tmp_path / "a.wav"))) is None
