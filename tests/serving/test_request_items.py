"""The items of requests: content alone, counted before anything decodes them."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.serving.asking import ask_guarded, is_error, of, url
from tests.serving.conftest import wav
from tinyllava_kit.core.conversation import Item
from tinyllava_kit.files.item_sources import AddressContent
from tinyllava_kit.inference.answering import question

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://a.b/c.png"}},
            "is an address, and this server fetches none",
        ),
        ({"type": "image_url", "image_url": {"url": "/etc/passwd"}}, "neither a data: URL nor base64"),
        ({"type": "image", "path": "a.png"}, "neither a data: URL nor base64; a server reads no names of files"),
        ({"type": "image_url", "image_url": {"path": "/etc/passwd"}}, "expected url, data (base64) or array"),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            "cannot read image 'data: address'",
        ),
        ({"type": "image_url"}, "0 sources; expected one"),
        ({"type": "video", "video": "AAAA"}, "a part of type 'video'; the model reads text, image, audio"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "cannot decode"),
        (7, "expected a text or a list of parts"),
    ],
)
def test_a_part_that_cannot_be_read_is_one_line(served, part, message):
    status, said = served.chat([{"role": "user", "content": [part]}])
    assert status == 400
    assert message in said["error"]["message"]
    assert said["error"].keys() == {"message", "type", "param", "code"}


def picture_of(width, height):
    """A PNG whose header says more than it holds."""
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


def frames(number):
    """A GIF of so many."""
    first, *rest = [Image.new("L", (3, 3), color % 256) for color in range(number)]
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=rest)
    return file.getvalue()


def silence(seconds):
    file = io.BytesIO()
    soundfile.write(file, np.zeros(seconds * 1000, np.int16), 1000, format="FLAC")
    return file.getvalue()


ITEMS = {
    "a picture of 13000 x 13000": ("image", picture_of(13_000, 13_000), (400, "is too large: 13000 x 13000 pixels")),
    "one of 3000 x 3000": ("image", picture_of(3000, 3000), (413, "a picture of 9000000 pixels; at most 4000000")),
    "one that is cut": ("image", picture_of(300, 300)[:60], (400, "cannot read image")),
    "no picture": ("image", b"<svg/>" * 20, (400, "damaged, or not one of")),
    "a sound of hours": ("audio", silence(9000), (400, "is longer than 7200 s")),
    "one of a minute": ("audio", silence(60), (413, "a sound of 60 s; at most 5 s are read")),
    "no sound": ("audio", b"RIFF" * 20, (400, "data: address")),
    "too many bytes": ("audio", b"x" * 120_000, (413, "at most 100000 are read")),
    "a bomb": ("audio", zlib.compress(bytes(10_000_000)), (400, "cannot decode")),
}


@pytest.mark.usefixtures("goes_on")
@pytest.mark.parametrize("name", ITEMS)
def test_an_item_that_cannot_be_read(guarded, name):
    modality, content, (expected, message) = ITEMS[name]
    status, said = ask_guarded(guarded, of({"type": f"{modality}_url", f"{modality}_url": {"url": url(content)}}))
    assert (status, message in is_error(said)) == (expected, True), said


@pytest.mark.usefixtures("goes_on")
@pytest.mark.parametrize("content", [picture_of(1, 1), frames(500)], ids=["1 x 1", "500 frames"])
def test_a_strange_picture_is_read(guarded, content):
    assert ask_guarded(guarded, of({"type": "image_url", "image_url": {"url": url(content)}}))[0] == 200


@pytest.mark.usefixtures("goes_on")
def test_all_items_together_are_bounded(guarded):
    large = [{"type": "image_url", "image_url": {"url": url(picture_of(1990 - n, 2000))}} for n in range(4)]
    status, said = ask_guarded(guarded, {"messages": [{"role": "user", "content": large}]})
    assert (status, said["error"]["code"]) == (413, "items_too_large")


def test_the_header_of_a_sound_is_read_once(served, monkeypatch):
    processor = served.service.engine.processor
    audio, seen = type(processor.modalities["audio"]), []
    probe = audio.probe

    def counted(self, source):
        seen.append(isinstance(source, bytes))
        return probe(self, source)

    monkeypatch.setattr(audio, "probe", counted)
    served.service.items.check(question("what?", [Item("audio", AddressContent(wav()))], processor))
    assert seen.count(True) == 1
