"""Lengths, windows and normalisation, against the network and transformers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tinyllava_kit_audio_wav2vec2.preprocessor import Wav2Vec2Preprocessor, front_end, num_frames
from transformers import Wav2Vec2FeatureExtractor

from tinyllava_kit import KitError
from tinyllava_kit.components import Waveform, resample

EDGES = [480_080 * k + e for k in (1, 2, 3) for e in (-321, -81, -80, -1, 0, 1, 79, 80, 319, 320, 321, 399, 400, 401)]


def sound(num_samples: int, rate_hz: int = 16_000, seed: int = 0) -> Waveform:
    samples = np.random.default_rng(seed).standard_normal(num_samples).astype(np.float32)
    return Waveform(samples, rate_hz, "clip.wav")


def silence(num_samples: int, rate_hz: int = 16_000) -> Waveform:
    """A waveform of any length that takes no memory."""
    return Waveform(np.broadcast_to(np.float32(0), (num_samples,)), rate_hz, "clip.wav")


def test_the_count_is_that_of_the_network_for_two_hundred_lengths(toy):
    model, _ = toy("wav2vec2", "group", conv_dim=(3,) * 7)
    rng = np.random.default_rng(3)
    hops = [320 * k + 400 + e for k in (0, 1, 2, 7, 31) for e in (-1, 0, 1, 319)]
    lengths = sorted({*hops[1:], 16_000, 32_000, 79_999, *rng.integers(400, 9_000, 180).tolist()})
    assert len(lengths) > 195
    with torch.no_grad():
        made = [model.feature_extractor(torch.zeros(1, n)).shape[-1] for n in lengths]
    assert made == [num_frames(n, 400, 320) for n in lengths]


@given(st.integers(0, 10**7))
def test_a_hop_more_is_a_frame_more(num_samples):
    here, next_one = num_frames(num_samples, 400, 320), num_frames(num_samples + 1, 400, 320)
    assert 0 <= next_one - here <= 1
    assert num_frames(num_samples + 320, 400, 320) == here + (num_samples >= 80)


def test_the_front_end_of_other_kernels_is_counted_the_same():
    kernels, strides = (11, 5, 4, 1), (4, 3, 2, 1)
    field, stride = front_end(kernels, strides)
    for num_samples in range(field, 400):
        frames = num_samples
        for kernel, step in zip(kernels, strides, strict=True):
            frames = (frames - kernel) // step + 1
        assert num_frames(num_samples, field, stride) == frames


def test_the_windows_of_a_file_count_what_the_whole_file_counts():
    preprocessor = Wav2Vec2Preprocessor()
    lengths = [*EDGES, *range(400, 1200), *np.random.default_rng(7).integers(400, 60_000_000, 4_000).tolist()]
    for num_samples in lengths:
        counts = preprocessor.num_features(silence(num_samples))
        assert sum(counts) == num_frames(num_samples, 400, 320), num_samples
        assert set(counts[:-1]) <= {1500}
        assert 1 <= counts[-1] <= 1500


def test_windows_overlap_by_what_the_convolutions_need():
    preprocessor = Wav2Vec2Preprocessor(normalize=False, window_frames=7)
    item = sound(3 * 2240 + 400)
    rows = preprocessor(item)
    assert [len(row["input_values"]) for row in rows] == [2320, 2320, 2320, 400]
    for number, row in enumerate(rows):
        start = number * 2240
        np.testing.assert_array_equal(row["input_values"], item.samples[start : start + 2320])
    assert preprocessor.num_features(item) == [7, 7, 7, 1]


def test_a_clip_below_one_frame_is_refused_by_call_and_count():
    preprocessor = Wav2Vec2Preprocessor()
    for ask in (preprocessor, preprocessor.num_features):
        with pytest.raises(KitError, match=r"'clip\.wav' has 399 samples at 16000 Hz; .* at least 400 \(25 ms\)"):
            ask(sound(399))
    assert preprocessor.num_features(sound(400)) == [1]
    assert preprocessor.num_features(sound(200, 8_000)) == [1]


@pytest.mark.parametrize("loudness", [1.0, 1e-5, 300.0])
def test_each_waveform_is_normalised_alone_as_transformers_does(loudness):
    items = [Waveform(loudness * (sound(n, seed=n).samples + 0.7), 16_000, "clip.wav") for n in (1601, 4003)]
    preprocessor = Wav2Vec2Preprocessor()
    batch = preprocessor.collate([row for item in items for row in preprocessor(item)])
    expected = Wav2Vec2FeatureExtractor(return_attention_mask=True)(
        [item.samples for item in items], sampling_rate=16_000, padding=True, return_tensors="pt"
    )
    torch.testing.assert_close(batch["input_values"], expected["input_values"], rtol=1e-5, atol=1e-5)
    assert batch["lengths"].tolist() == expected["attention_mask"].sum(1).tolist() == [1601, 4003]
    assert batch["lengths"].dtype == torch.int64


def test_a_long_file_is_normalised_whole():
    item = sound(6_000)
    item = Waveform(item.samples * np.linspace(0.1, 3.0, 6_000, dtype=np.float32), 16_000, "clip.wav")
    whole = Wav2Vec2Preprocessor()(item)[0]["input_values"]
    rows = Wav2Vec2Preprocessor(window_frames=7)(item)
    torch.testing.assert_close(rows[1]["input_values"], whole[2240:4560], rtol=0, atol=0)


def test_silence_stays_silent():
    assert not Wav2Vec2Preprocessor()(silence(1000))[0]["input_values"].any()


def test_without_do_normalize_the_samples_are_untouched():
    item = sound(1000)
    row = Wav2Vec2Preprocessor(normalize=False)(item)[0]["input_values"]
    np.testing.assert_array_equal(row, item.samples)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
def test_a_waveform_of_another_rate_is_resampled_whole(rate_hz):
    item = sound(4001, rate_hz)
    row = Wav2Vec2Preprocessor(normalize=False)(item)[0]["input_values"]
    np.testing.assert_array_equal(row, resample(item, 16_000))
    assert Wav2Vec2Preprocessor().num_features(item) == [num_frames(len(row), 400, 320)]


def test_settings_survive_json():
    made = Wav2Vec2Preprocessor(normalize=False, window_frames=7)
    again = Wav2Vec2Preprocessor.from_settings(json.loads(json.dumps(made.settings())))
    assert vars(again) == vars(made)
