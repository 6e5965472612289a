"""A saved model that reads pictures, its processor, and three pictures."""

from __future__ import annotations

import pytest
from PIL import Image

from tests import toys
from tinyllava_kit import TinyLlavaProcessor


@pytest.fixture(scope="module")
def prompted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prompting")
    pictures = [Image.open(folder / "images" / name) for name in toys.save_pictures(folder / "images", 3)]
    for picture in pictures:
        picture.load()  # which closes its file
    path = toys.save_picture_model(folder)
    return path, TinyLlavaProcessor.from_pretrained(path), pictures
