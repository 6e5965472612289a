"""Sounds as bytes of a file, in the formats that the API names."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from typing import Any

import numpy as np

from ..plugin.extras import imported, need
from .api_errors import ApiError

PCM_RATE_HZ = 24_000  # of bare samples, as OpenAI's API says
# format -> what libsndfile calls it, its encoding, the type of its content, a rate that it needs
_FILES: dict[str, tuple[str, str, str, int | None]] = {
    "wav": ("WAV", "PCM_16", "audio/wav", None),
    "flac": ("FLAC", "PCM_16", "audio/flac", None),
    "mp3": ("MP3", "MPEG_LAYER_III", "audio/mpeg", None),
    "opus": ("OGG", "OPUS", "audio/ogg", 24_000),
}
_BLOCK = 1 << 16  # samples
_MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


def media_type(kind: str) -> str:
    """Of a format."""
    return f"audio/pcm;rate={PCM_RATE_HZ};channels=1" if kind.startswith("pcm") else _FILES[kind][2]


def sound_bytes(sound: Any, kind: str) -> bytes:
    """A sound, as its modality reads it, as a file.

    Args:
        kind: wav, flac, mp3, opus, or pcm (pcm16): bare samples of 16 bits at `PCM_RATE_HZ`.

    Raises:
        ApiError: libsndfile here does not write it.
    """
    if kind.startswith("pcm"):
        samples = at_rate(sound, PCM_RATE_HZ).samples
        return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    soundfile = imported("soundfile", "an answer in sound")
    form, encoding, _, rate_hz = _FILES[kind]
    if kind == "mp3" and sound.rate_hz not in _MP3_RATES_HZ:
        rate_hz = PCM_RATE_HZ
    sound = sound if rate_hz is None else at_rate(sound, rate_hz)
    file = io.BytesIO()
    try:
        with soundfile.SoundFile(file, "w", sound.rate_hz, 1, encoding, format=form) as written:
            for start in range(0, len(sound.samples), _BLOCK):  # libsndfile crashes where it is given hours at once
                written.write(np.clip(sound.samples[start : start + _BLOCK], -1, 1))
    except (soundfile.SoundFileError, ValueError, TypeError) as error:
        raise ApiError(f"this server does not write {kind}; take wav", param="response_format") from error
    return file.getvalue()


def sound_text(sound: Any, kind: str) -> str:
    """The same in base64."""
    return base64.b64encode(sound_bytes(sound, kind)).decode()


def at_rate(sound: Any, rate_hz: int) -> Any:
    """A sound at another rate."""
    if sound.rate_hz == rate_hz:
        return sound
    need("torchaudio", "a sound at another rate")
    from ..components import resample

    return replace(sound, samples=resample(sound, rate_hz), rate_hz=rate_hz)
