"""Sound files of a tone, as bytes and on disk, with whatever header."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path

import numpy as np
import soundfile

from tinyllava_kit.components.modalities.audio import AudioModality, Waveform

RATE = 11_025


TONE = (0.3 * np.sin(np.arange(3001) * 0.05)).astype(np.float32)


PCM = (TONE * 32767).astype("<i2")


HEAD = 44  # of a wav file without more chunks


def read(source: object) -> Waveform:
    return AudioModality().read(source)


def write(path: Path, samples: np.ndarray = TONE, **kwargs: str) -> Path:
    soundfile.write(path, samples, RATE, **kwargs)
    return path


def encoded(samples, **kwargs):
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, **kwargs)
    return file.getvalue()


def wav(*, riff=None, data=None, before=b"", behind=b"", rate=RATE):
    """A wav file with these sizes in its header, or those that are right."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, rate, 0, "NONE", ""))
        writer.writeframes(PCM.tobytes())
    raw = file.getvalue()
    size = struct.pack("<I", len(PCM) * 2 if data is None else data)
    body = raw[8:36] + before + b"data" + size + raw[HEAD:] + behind
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body
