"""The licence of a checkpoint is what the head of its model card says."""

from __future__ import annotations

import pytest

from tinyllava_kit.assembly.licence import read_licence


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\n---\nlicense: none of this\n", "mit"),
        ("---\r\ntags: [a]\r\nlicense: apache-2.0\r\n---\r\n", "apache-2.0"),
        ('\ufeff---\nlicense: "mit"  # as it is\n---\n', "mit"),
        ("---\ntitle: a --- b\nlicense: mit\n---\n", "mit"),
        ("---\nlicense_name: own\nlicense: other\n---\n", "other"),
        ("---\nlicense:\n---\n", ""),
        ("---\nlicense: [mit, bsd]\n---\n", ""),
        ("---\nlicense: {\n---\n", ""),
        ("---\ntags: [a]\n---\n", ""),
        ("---\nlicense: mit\nno end", ""),
        ("# A model\n---\nlicense: in the text\n---\n", ""),
        ("license: mit\n", ""),
        ("", ""),
    ],
)
def test_a_licence_is_read_of_the_head_of_a_card(tmp_path, card, licence):
    (tmp_path / "README.md").write_bytes(card.encode())
    (tmp_path / "model.gguf").write_bytes(b"")
    assert read_licence(str(tmp_path)) == read_licence(str(tmp_path / "model.gguf")) == licence


def test_where_there_is_no_card_there_is_none(tmp_path):
    assert read_licence(str(tmp_path)) == read_licence("org/name") == ""
    (tmp_path / "README.md").mkdir()
    assert read_licence(str(tmp_path)) == ""
    (tmp_path / "other").mkdir()
    (tmp_path / "other/README.md").write_bytes(b"---\nlicense: mit\n---\n\xff\xfe")
    assert read_licence(str(tmp_path / "other")) == "mit"
