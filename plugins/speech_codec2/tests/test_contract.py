"""The contract of decoders, for every mode."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from tinyllava_kit_speech_codec2.decoder import Codec2Decoder
from tinyllava_kit_speech_codec2.talker import Codec2Talker

from tinyllava_kit.components import AudioModality, Waveform
from tinyllava_kit.testing import HiddenDecoderContract, TokenDecoderContract


class _Contract(TokenDecoderContract):
    decoder_class = Codec2Decoder
    modality_class = AudioModality

    @pytest.fixture
    def checkpoint(self):
        return ""

    def items(self):
        return [vowel(number, 0.13 + 0.07 * (number % 3)) for number in range(5)]


class Test1200(_Contract):
    options: ClassVar = {"mode": "1200"}


class Test700C(_Contract):
    options: ClassVar = {"mode": "700C"}


class Test3200(_Contract):
    options: ClassVar = {"mode": "3200"}


class TestTalker(HiddenDecoderContract):
    decoder_class = Codec2Talker
    modality_class = AudioModality
    options: ClassVar = {"layers": 2, "width": 64, "heads": 4, "dropout": 0.0, "mode": "1200"}
    checkpoint = _Contract.checkpoint
    items = _Contract.items


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
