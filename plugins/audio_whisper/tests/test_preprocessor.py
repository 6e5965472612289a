"""Lengths, windows and mels, against the network and transformers' feature extractor."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tinyllava_kit_audio_whisper.preprocessor import WhisperPreprocessor, num_in_sound
from torch import Tensor
from transformers import WhisperFeatureExtractor

from tinyllava_kit import KitError
from tinyllava_kit.components import Waveform, resample

WINDOW = 480_000
EDGES = [WINDOW * k + e for k in (1, 2, 3) for e in (-321, -320, -161, -160, -1, 0, 1, 159, 160, 161, 320, 321)]


def sound(num_samples: int, rate_hz: int = 16_000, seed: int = 0) -> Waveform:
    """Noise that grows louder."""
    samples = np.random.default_rng(seed).standard_normal(num_samples) * np.linspace(0.01, 0.4, num_samples)
    return Waveform(samples.astype(np.float32), rate_hz, "clip.wav")


def silence(num_samples: int, rate_hz: int = 16_000) -> Waveform:
    """A waveform of any length that takes no memory."""
    return Waveform(np.broadcast_to(np.float32(0), (num_samples,)), rate_hz, "clip.wav")


def reference(samples: np.ndarray, num_mels: int = 80, window: int = WINDOW) -> Tensor:
    """Transformers' log-mel of a window, (num_mels, frames)."""
    extractor = WhisperFeatureExtractor(feature_size=num_mels)
    return extractor(samples, sampling_rate=16_000, max_length=window, return_tensors="pt")["input_features"][0]


def test_the_count_is_that_of_transformers_mask_and_of_the_convolutions(toy):
    encoder = toy()[0].get_encoder()
    extractor = WhisperFeatureExtractor(feature_size=17)
    random = np.random.default_rng(3).integers(1, WINDOW, 150).tolist()
    lengths = sorted({*random, *range(1, 5), *(160 * k + e for k in (1, 2, 3, 7, 2999) for e in (-1, 0, 1)), WINDOW})
    for num_samples in lengths:
        made = extractor(
            np.zeros(num_samples, np.float32),
            sampling_rate=16_000,
            padding="longest",
            pad_to_multiple_of=480,
            return_attention_mask=True,
        )
        frames = int(made["attention_mask"].sum())
        with torch.no_grad():
            features = encoder.conv2(encoder.conv1(torch.zeros(1, 17, frames))).shape[-1]
        assert features == num_in_sound(num_samples), num_samples
    assert len(lengths) > 160


@given(st.integers(1, 10**8))
def test_two_hops_more_are_a_feature_more(num_samples):
    here, next_one = num_in_sound(num_samples), num_in_sound(num_samples + 1)
    assert 0 <= next_one - here <= 1
    assert num_in_sound(num_samples + 320) == here + 1
    assert here == -(-num_samples // 320)


@pytest.mark.parametrize("window_features", [1500, 500, 7])
def test_the_windows_of_a_file_count_what_the_whole_file_counts(window_features):
    preprocessor = WhisperPreprocessor(window_features=window_features)
    lengths = [*EDGES, *range(1, 700), *np.random.default_rng(7).integers(1, 2_000_000, 500).tolist()]
    for num_samples in lengths:
        counts = preprocessor.num_features(silence(num_samples))
        assert sum(counts) == num_in_sound(num_samples), num_samples
        assert set(counts[:-1]) <= {window_features}
        assert 1 <= counts[-1] <= window_features


@pytest.mark.parametrize("num_samples", [1, 159, 2239, 2240, 2241, 2400, 2401, 4480, 6721, 9001])
@pytest.mark.parametrize("rate_hz", [16_000, 8_000, 44_100])
def test_the_rows_are_as_many_and_as_long_as_counted(num_samples, rate_hz):
    preprocessor = WhisperPreprocessor(num_mels=17, window_features=7)
    item = sound(num_samples, rate_hz)
    rows = preprocessor(item)
    counts = preprocessor.num_features(item)
    batch = preprocessor.collate(rows)
    assert batch["input_features"].shape == (len(counts), 17, 14)
    assert batch["keep"].sum(1).tolist() == [int(row["lengths"]) for row in rows] == counts
    assert batch["keep"].shape == (len(counts), max(counts))


@pytest.mark.parametrize("num_mels", [80, 128, 17])
@pytest.mark.parametrize("num_samples", [1, 161, 16_001, WINDOW])
def test_the_mels_are_those_of_transformers(num_samples, num_mels):
    samples = sound(num_samples).samples
    row = WhisperPreprocessor(num_mels=num_mels)(Waveform(samples, 16_000, "clip.wav"))[0]
    torch.testing.assert_close(row["input_features"], reference(samples, num_mels), rtol=0, atol=1e-5)
    assert row["input_features"].dtype == torch.float32
    assert row["lengths"].dtype == torch.int64


def test_silence_is_finite():
    row = WhisperPreprocessor()(silence(16_000))[0]["input_features"]
    torch.testing.assert_close(row, torch.full((80, 3000), -1.5))
    torch.testing.assert_close(row, reference(np.zeros(16_000, np.float32)))


def test_a_long_file_is_cut_where_the_windows_end_and_nowhere_else():
    """Transformers' extractor alone would drop what stands behind 30 s."""
    item = sound(2 * WINDOW + 1)
    preprocessor = WhisperPreprocessor(num_mels=17)
    rows = preprocessor(item)
    assert preprocessor.num_features(item) == [1500, 1500, 1]
    for number, row in enumerate(rows):
        part = item.samples[number * WINDOW : (number + 1) * WINDOW]
        torch.testing.assert_close(row["input_features"], reference(part, 17), rtol=0, atol=1e-5)
    assert rows[2]["input_features"].max() > -1.5  # the last sample is heard


def test_a_smaller_window_has_the_mels_of_so_many_samples():
    item = sound(16_001)
    rows = WhisperPreprocessor(window_features=37)(item)
    assert len(rows) == 2
    for number, row in enumerate(rows):
        part = item.samples[number * 11_840 : (number + 1) * 11_840]
        torch.testing.assert_close(row["input_features"], reference(part, window=11_840), rtol=0, atol=1e-5)


def test_what_is_loud_in_a_window_changes_the_mels_of_what_is_quiet():
    """Why windows are not equal to the whole: clipping is relative to the window's loudest point."""
    quiet = 1e-4 * sound(16_000).samples
    louder = np.concatenate([quiet, sound(16_000, seed=1).samples])
    alone, together = (WhisperPreprocessor()(Waveform(s, 16_000, "clip.wav"))[0] for s in (quiet, louder))
    difference = (alone["input_features"] - together["input_features"])[:, :90].abs()
    assert difference.max() > 0.5


def test_a_waveform_of_another_rate_is_resampled_whole():
    item = sound(44_100, 44_100)
    row = WhisperPreprocessor()(item)[0]
    torch.testing.assert_close(row["input_features"], reference(resample(item, 16_000)), rtol=0, atol=1e-5)
    with pytest.raises(KitError, match=r"'clip\.wav' has rate 44101 Hz, .*; convert it to 16000 Hz first"):
        WhisperPreprocessor()(sound(1000, 44_101))


def test_a_batch_is_as_long_as_its_longest_sound():
    preprocessor = WhisperPreprocessor()
    batch = preprocessor.collate([row for n in (700, 3_217) for row in preprocessor(sound(n))])
    assert batch["keep"].tolist() == [[True] * 3 + [False] * 8, [True] * 11]


def test_settings_survive_json():
    made = WhisperPreprocessor(rate_hz=32_000, num_mels=17, n_fft=600, hop=240, window_features=7)
    again = WhisperPreprocessor.from_settings(json.loads(json.dumps(made.settings())))
    assert vars(again) == vars(made)
    row = again(sound(1000))[0]["input_features"]
    assert row.shape == (17, 14)
