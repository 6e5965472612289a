"""The contract of audio towers. Whisper states that a window's features are its own, not those of the whole sound."""

from __future__ import annotations

from typing import ClassVar

import pytest
from tinyllava_kit_audio_whisper.tower import WhisperTower

from tinyllava_kit.testing import AudioTowerContract


class TestWhisperTower(AudioTowerContract):
    tower_class = WhisperTower
    options: ClassVar = {"window_seconds": 0.58}
    min_samples, hop_samples, window_samples = 1, 320, 29 * 320
    window_tolerance = None

    @pytest.fixture
    def checkpoint(self, toy):
        return toy(dropout=0.3, attention_dropout=0.3, activation_dropout=0.3, encoder_layerdrop=0.5)[1]

    def count(self, num_samples):
        return -(-num_samples // 320)
