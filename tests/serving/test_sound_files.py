"""Sounds as bytes of a file, read again by soundfile."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import soundfile

from tinyllava_kit import KitError
from tinyllava_kit.components.modalities.audio import Waveform
from tinyllava_kit.plugin import extras
from tinyllava_kit.serving import sound_files
from tinyllava_kit.serving.api_errors import ApiError
from tinyllava_kit.serving.sound_files import PCM_RATE_HZ, at_rate, media_type, sound_bytes, sound_text


def tone(rate_hz, seconds=0.25):
    return Waveform((0.5 * np.sin(np.arange(round(rate_hz * seconds)) / 5)).astype(np.float32), rate_hz, "tone")


@pytest.mark.parametrize(("kind", "form"), [("wav", "WAV"), ("flac", "FLAC")])
@pytest.mark.parametrize("seconds", [0.25, 3.1])
def test_a_lossless_file_is_the_sound_to_its_bits(kind, form, seconds, monkeypatch):
    monkeypatch.setattr(sound_files, "_BLOCK", 7_001)
    given = tone(8_000, seconds)
    with soundfile.SoundFile(io.BytesIO(sound_bytes(given, kind))) as file:
        assert (file.format, file.subtype, file.samplerate, file.channels) == (form, "PCM_16", 8_000, 1)
        np.testing.assert_allclose(file.read(dtype="float32"), given.samples, atol=1 / 32767)


@pytest.mark.parametrize(
    ("kind", "form", "given_hz", "file_hz"),
    [("mp3", "MP3", 16_000, 16_000), ("mp3", "MP3", 7_000, 24_000), ("opus", "OGG", 16_000, 24_000)],
)
def test_a_lossy_file_is_as_long_at_a_rate_that_its_format_has(kind, form, given_hz, file_hz):
    with soundfile.SoundFile(io.BytesIO(sound_bytes(tone(given_hz, 1.0), kind))) as file:
        assert (file.format, file.samplerate) == (form, file_hz)
        assert abs(file.frames / file_hz - 1.0) < 0.1


@pytest.mark.parametrize("kind", ["pcm", "pcm16"])
def test_bare_samples_are_of_16_bits_and_clipped(kind):
    given = Waveform(np.array([0, 0.5, -0.5, 1, -1, 3, -3], np.float32), PCM_RATE_HZ, "steps")
    found = np.frombuffer(sound_bytes(given, kind), "<i2")
    assert found.tolist() == [0, 16383, -16383, 32767, -32767, 32767, -32767]
    assert base64.b64decode(sound_text(given, kind)) == found.tobytes()


def test_what_libsndfile_does_not_write_is_refused(monkeypatch):
    monkeypatch.setitem(sound_files._FILES, "wav", ("NONE", "PCM_16", "audio/wav", None))
    with pytest.raises(ApiError, match="this server does not write wav; take wav"):
        sound_bytes(tone(8_000), "wav")


def test_the_type_of_the_content_is_that_of_the_format():
    assert media_type("mp3") == "audio/mpeg"
    assert media_type("pcm") == media_type("pcm16") == "audio/pcm;rate=24000;channels=1"


def test_a_sound_at_its_own_rate_needs_no_resampler(monkeypatch):
    found = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "torchaudio" else found(name))
    given = Waveform(np.zeros(8, np.float32), 24_000, "toy")
    assert at_rate(given, 24_000) is given
    with pytest.raises(KitError, match="a sound at another rate needs torchaudio"):
        at_rate(given, 16_000)
