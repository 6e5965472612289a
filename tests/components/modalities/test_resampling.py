"""Samples at another rate, against torchaudio and tones, and their exact number."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchaudio

from tinyllava_kit.components.modalities.audio import Waveform
from tinyllava_kit.components.modalities.resampling import num_resampled, resample
from tinyllava_kit.errors import KitError
from tinyllava_kit.plugin import extras


def sound(num_samples: int, rate_hz: int) -> Waveform:
    samples = np.random.default_rng(0).standard_normal(num_samples).astype(np.float32)
    return Waveform(samples, rate_hz, "clip.wav")


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_the_samples_are_torchaudios_and_as_many_as_the_arithmetic_says(rate_hz):
    item = sound(4001, rate_hz)
    got = resample(item, 16_000)
    expected = torchaudio.functional.resample(torch.from_numpy(item.samples), rate_hz, 16_000)
    assert len(got) == num_resampled(item, 16_000) == math.ceil(4001 * 16_000 / rate_hz)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_resampling_keeps_what_is_below_half_the_rate_and_drops_what_is_above():
    time = np.arange(48_000, dtype=np.float64) / 48_000
    for hertz, power in ((440, 0.5), (12_000, 0.0)):
        tone = Waveform(np.sin(2 * np.pi * hertz * time).astype(np.float32), 48_000, "tone.wav")
        assert abs(np.square(resample(tone, 16_000)).mean() - power) < 1e-3


def test_the_length_is_exact_where_float32_is_not():
    item = Waveform(np.zeros(12_582_914, dtype=np.float32), 12_000, "long.wav")
    assert len(torchaudio.functional.resample(torch.from_numpy(item.samples), 12_000, 16_000)) == 16_777_218
    assert len(resample(item, 16_000)) == num_resampled(item, 16_000) == 16_777_219


def test_a_rate_without_a_practical_ratio_is_refused():
    for ask in (resample, num_resampled):
        with pytest.raises(KitError, match=r"'clip\.wav' has rate 44101 Hz, .*; convert it to 16000 Hz first"):
            ask(sound(1000, 44_101), 16_000)


def test_a_waveform_of_the_wanted_rate_is_taken_as_it_is():
    item = sound(1000, 16_000)
    assert resample(item, 16_000) is item.samples
    assert num_resampled(item, 16_000) == 1000


def test_without_torchaudio_a_sound_of_another_rate_says_what_is_missing(monkeypatch):
    found = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "torchaudio" else found(name))
    assert len(resample(sound(1000, 16_000), 16_000)) == 1000
    message = r"'clip\.wav', a sound at 8000 Hz where 16000 Hz are wanted, needs torchaudio; pip install"
    with pytest.raises(KitError, match=message):
        resample(sound(1000, 8_000), 16_000)
