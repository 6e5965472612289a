"""Pictures and sounds lie in the page itself."""

from __future__ import annotations

import base64

import pytest

from tinyllava_kit.pages import Inline, inline, inline_file


def test_content_is_a_uri_with_its_tag() -> None:
    assert inline(b"picture") == Inline("img", "data:image/png;base64,cGljdHVyZQ==")
    assert inline(b"\xff\x00", "audio/wav", alt="a sound") == Inline("audio", "data:audio/wav;base64,/wA=", "a sound")


@pytest.mark.parametrize(
    ("name", "tag", "kind"),
    [("a.png", "img", "image/png"), ("B.JPG", "img", "image/jpeg"), ("a.mp3", "audio", "audio/")],
)
def test_a_file_is_what_its_name_says(tmp_path, name, tag, kind):
    (tmp_path / name).write_bytes(b"content")
    found = inline_file(tmp_path / name)
    assert (found.tag, found.alt) == (tag, name)
    assert found.uri.startswith(f"data:{kind}")
    assert base64.b64decode(found.uri.partition(",")[2]) == b"content"


@pytest.mark.parametrize("name", ["a.html", "a.txt", "a.mp4", "png", "a"])
def test_what_browsers_do_not_show_is_no_media(tmp_path, name):
    assert inline_file(tmp_path / name) is None  # and is not read
