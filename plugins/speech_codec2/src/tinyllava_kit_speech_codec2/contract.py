"""The decoders' contracts: `pytest --tinyllava-conformance=tinyllava-kit-speech-codec2`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tinyllava_kit.components import Waveform
from tinyllava_kit.testing import HiddenDecoderContract, TokenDecoderContract


class _Vowels:
    """Five vowels of three lengths."""

    lossy: ClassVar[str] = "a codec of speech keeps what is heard of it, not the samples"

    def items(self) -> Sequence[Waveform]:
        """Something that a speech codec has ids for."""
        return [vowel(number, 0.13 + 0.07 * (number % 3)) for number in range(5)]


class Codec2Contract(_Vowels, TokenDecoderContract):
    """In its default mode."""


class Codec2TalkerContract(_Vowels, HiddenDecoderContract):
    """By a small transformer."""

    options: ClassVar[Mapping[str, Any]] = {"layers": 2, "width": 64, "heads": 4, "dropout": 0.0, "mode": "1200"}
    unseen_options: ClassVar[Mapping[str, str]] = {
        "max_ids": "it cuts an item that does not end, long after a toy does"
    }
    other_options: ClassVar[Mapping[str, Any]] = {"width": 32, "heads": 2, "layers": 3, "dropout": 0.3}


def vowel(seed: int, seconds: float, rate_hz: int = 8000) -> Waveform:
    """A buzz that glides, through resonances that move: something that a speech codec has ids for."""
    chance = np.random.default_rng(seed)
    steps = np.arange(round(seconds * rate_hz)) / rate_hz
    pitch = np.cumsum(chance.uniform(90, 220) * (1 + chance.uniform(-0.4, 0.4) * steps / seconds)) / rate_hz
    formants = chance.uniform([300, 900, 2000], [800, 2000, 3200])
    harmonics = np.arange(1, 30)[:, None]
    heights = sum(np.exp(-(((harmonics * 150 - f) / 200) ** 2)) for f in formants)
    voiced = (heights * np.sin(2 * np.pi * harmonics * pitch)).sum(0)
    noise = chance.standard_normal(len(steps)) * np.linspace(0, 0.5, len(steps))
    samples = voiced / np.abs(voiced).max() + noise * chance.uniform(0, 0.5)
    return Waveform((0.5 * samples / np.abs(samples).max()).astype(np.float32), rate_hz, f"vowel {seed}")
