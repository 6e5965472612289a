"""The modalities that the kit offers: what their specs say is what their classes do."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from tinyllava_kit.components.modalities.plugin import AUDIO, IMAGE, tinyllava_modalities
from tinyllava_kit.plugin.specs import load

PICTURE = Image.fromarray(np.full((5, 7, 3), 90, np.uint8))


def test_pictures_and_sounds_are_offered():
    assert [(spec.name, spec.token.placeholder) for spec in tinyllava_modalities()] == [
        ("image", "<image>"),
        ("audio", "<audio>"),
    ]
    for spec in tinyllava_modalities():
        load(spec)(**{option.name: option.default for option in spec.options})


@pytest.mark.parametrize("suffix", IMAGE.suffixes)
def test_a_picture_of_each_suffix_is_read(suffix, tmp_path):
    PICTURE.save(tmp_path / f"a{suffix}") if suffix != ".pgm" else PICTURE.convert("L").save(tmp_path / "a.pgm")
    assert load(IMAGE)().read(tmp_path / f"a{suffix}").size == (7, 5)


@pytest.mark.parametrize("suffix", AUDIO.suffixes)
def test_a_sound_of_each_suffix_is_read(suffix, tmp_path):
    kinds = {".oga": "OGG", ".opus": "OGG", ".aif": "AIFF"}
    file = io.BytesIO()
    how = {"subtype": "OPUS"} if suffix == ".opus" else {}
    soundfile.write(file, np.sin(np.arange(4_000) / 7), 8_000, format=kinds.get(suffix, suffix[1:].upper()), **how)
    (tmp_path / f"a{suffix}").write_bytes(file.getvalue())
    assert load(AUDIO)().read(tmp_path / f"a{suffix}").rate_hz == 8_000
