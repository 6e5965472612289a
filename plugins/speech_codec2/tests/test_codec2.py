"""Beside the library itself: the same bits, the same samples."""

from __future__ import annotations

import numpy as np
import pycodec2
import pytest
import torch
from tinyllava_kit_speech_codec2.decoder import Codec2Decoder
from tinyllava_kit_speech_codec2.layouts import LAYOUTS

from tinyllava_kit import KitError, discover
from tinyllava_kit.components import AudioModality, Waveform


def theirs(mode):
    """The codec of pycodec2."""
    codec = pycodec2.Codec2(int(mode.removesuffix("C")))
    codec.set_natural_or_gray(0)
    return codec


every_mode = pytest.mark.parametrize("mode", list(LAYOUTS))


def sound(count: int, rate_hz: int = 8000) -> Waveform:
    noise = np.random.default_rng(count).standard_normal(count)
    samples = 0.3 * np.convolve(noise, np.ones(5) / 5, "same") + 0.2 * np.sin(np.arange(count) * 0.1)
    return Waveform(samples.astype(np.float32), rate_hz, "sound.wav")


@every_mode
def test_a_frame_has_the_bits_and_samples_that_the_library_says(mode):
    layout, codec = LAYOUTS[mode], theirs(mode)
    spare = codec.bits_per_frame() - sum(layout.fields.values())
    assert layout.samples == codec.samples_per_frame()
    assert spare == {"2400": 2, "1200": 1}.get(mode, 0)


@every_mode
def test_ids_hold_every_bit_of_the_library(mode):
    layout, item = LAYOUTS[mode], sound(4000)
    decoder = Codec2Decoder({"mode": mode})
    ids = decoder.encode(item)
    codec = theirs(mode)
    padded = np.pad((item.samples * 32767).astype(np.int16), (0, -len(item.samples) % layout.samples))
    coded = b"".join(codec.encode(frame) for frame in padded.reshape(-1, layout.samples))
    assert decoder.to_bytes(ids.numpy()).tobytes() == coded
    again = theirs(mode)
    size = layout.num_bytes
    expected = np.concatenate([again.decode(coded[at : at + size]) for at in range(0, len(coded), size)])
    ours = decoder.decode(ids).samples * 32768
    assert ours.shape == expected.shape
    # but for the phases of unvoiced speech, which the library draws anew
    energies = [np.abs(np.fft.rfft(each.reshape(-1, layout.samples))).sum(0) for each in (ours, expected.astype(float))]
    assert np.corrcoef(energies)[0, 1] > 0.9


def test_the_same_ids_give_the_same_samples_whatever_was_decoded_before():
    decoder = Codec2Decoder({"mode": "1200"})
    ids = decoder.encode(sound(4000))
    first = decoder.decode(ids).samples
    theirs("1200").decode(bytes(6))
    assert np.array_equal(decoder.decode(ids).samples, first)


@every_mode
def test_the_count_is_arithmetic_for_any_length_and_rate(mode):
    decoder = Codec2Decoder({"mode": mode})
    for count, rate_hz in ((1, 8000), (159, 8000), (160, 8000), (161, 8000), (321, 8000), (5000, 22050), (4801, 48000)):
        item = sound(count, rate_hz)
        ids = decoder.encode(item)
        assert decoder.num_ids(item) == decoder.num_ids(AudioModality().probe((item.samples, rate_hz))) == len(ids)
        assert len(decoder.decode(ids).samples) == len(ids) // len(decoder.ranges) * decoder.layout.samples


@every_mode
def test_what_comes_out_follows_what_went_in(mode):
    """Loud where the sound was loud, within the frames that the codec looks ahead."""
    quiet = np.concatenate([sound(8000).samples, np.zeros(8000, np.float32)])
    out = Codec2Decoder({"mode": mode})
    heard = out.decode(out.encode(Waveform(quiet, 8000, "half"))).samples
    assert np.abs(heard[1000:7000]).mean() > 20 * np.abs(heard[10000:15000]).mean()


def test_random_ids_are_decoded_without_a_fault():
    for mode, layout in LAYOUTS.items():
        decoder, chance = Codec2Decoder({"mode": mode}), np.random.default_rng(0)
        sizes = np.array([2**bits for bits in layout.fields.values()])
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        ids = (first + chance.integers(0, sizes, (50, len(sizes)))).reshape(-1)
        assert np.isfinite(decoder.decode(torch.from_numpy(ids)).samples).all()


def test_the_catalog_offers_it_with_its_modes():
    spec = discover().find("decoder", "codec2").spec
    assert (spec.modality, spec.reads) == ("audio", "tokens")
    assert spec.options[0].choices == tuple(LAYOUTS)


def test_a_checkpoint_is_refused():
    with pytest.raises(KitError, match="takes no checkpoint, got 'x'"):
        Codec2Decoder.read_config("x")
