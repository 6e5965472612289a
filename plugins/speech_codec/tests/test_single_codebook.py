"""Beside transformers' own models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tinyllava_kit_speech_codec.contract import sound
from tinyllava_kit_speech_codec.single_codebook import NeuCodecCodec, Xcodec2Codec
from transformers import NeuCodecFeatureExtractor, Xcodec2FeatureExtractor

from tests import toys
from tinyllava_kit import Assembly, TinyLlavaForConditionalGeneration, assemble
from tinyllava_kit.components import AudioModality

RATE, HOP, CODEBOOK = 16_000, 320, 48
COUNTS = [1, 319, 320, 321, 5 * 320, 7 * 320 + 11]


def build(kind, checkpoint):
    decoder = kind(kind.read_config(checkpoint))
    decoder.load_weights(checkpoint)
    return decoder.eval()


@pytest.mark.parametrize("count", COUNTS)
def test_xcodec2_is_that_of_transformers(xcodec2, count):
    model, checkpoint = xcodec2()
    decoder, item = build(Xcodec2Codec, checkpoint), sound(count, count, RATE)
    with torch.no_grad():
        inputs = Xcodec2FeatureExtractor()(item.samples, sampling_rate=RATE, return_tensors="pt")
        codes = model.encode(**inputs).audio_codes[0, 0]
        frames = -(-count // HOP)
        assert len(codes) == frames + (count % HOP == 0)
        expected = model.decode(audio_codes=codes[None, None, :frames]).audio_values[0, 0].numpy()
    ids = decoder.encode(item)
    assert ids.tolist() == codes[:frames].tolist()
    assert decoder.num_ids(item) == decoder.num_ids(AudioModality().probe(item)) == frames
    made = decoder.decode(ids)
    assert made.rate_hz == RATE
    assert np.array_equal(made.samples, expected.clip(-1, 1))
    assert len(made.samples) == frames * HOP


@pytest.mark.parametrize("count", COUNTS)
def test_neucodec_is_that_of_transformers_for_whole_frames(neucodec, count):
    model, checkpoint = neucodec()
    decoder, item = build(NeuCodecCodec, checkpoint), sound(count, count, RATE)
    frames = -(-count // HOP)
    with torch.no_grad():
        whole = np.pad(item.samples, (0, frames * HOP - count))
        inputs = NeuCodecFeatureExtractor()(whole, sampling_rate=RATE, return_tensors="pt")
        codes = model.encode(**inputs).audio_codes[0, 0]
        expected = model.decode(audio_codes=codes[None, None]).audio_values[0, 0].numpy()
    ids = decoder.encode(item)
    assert ids.tolist() == codes.tolist()
    assert decoder.num_ids(item) == len(codes) == frames
    made = decoder.decode(ids)
    assert made.rate_hz == 24_000
    assert np.array_equal(made.samples, expected.clip(-1, 1))
    assert len(made.samples) == frames * 480
    assert decoder.num_ids(made) == frames


def test_another_rate_is_resampled(xcodec2):
    decoder = build(Xcodec2Codec, xcodec2()[1])
    item = sound(2, 22_050, 22_050)
    assert decoder.num_ids(item) == len(decoder.encode(item)) == 50


def test_every_sample_depends_on_the_last_id(xcodec2):
    """Why there is no streaming."""
    decoder = build(Xcodec2Codec, xcodec2()[1])
    ids = torch.arange(30) % CODEBOOK
    first = decoder.decode(ids).samples[:HOP]
    other = decoder.decode(torch.cat([ids[:-1], (ids[-1:] + 7) % CODEBOOK])).samples[:HOP]
    assert not np.array_equal(first, other)
    stream = decoder.stream()
    assert stream.push(ids[:20]) is None
    assert stream.push(ids[20:]) is None
    assert np.array_equal(stream.finish().samples, decoder.decode(ids).samples)


@pytest.mark.parametrize("name", ["xcodec2", "neucodec"])
def test_a_saved_model_has_the_codec(name, request, tmp_path):
    checkpoint = request.getfixturevalue(name)()[1]
    assembly = Assembly.from_flags(
        llm=f"llama:{toys.save_llama(tmp_path / 'llm')}", decoders=[f"audio={name}:{checkpoint}"]
    )
    for part in assemble(assembly):
        part.save_pretrained(tmp_path / "model")
    item = sound(4, 3000, RATE)
    before = build({"xcodec2": Xcodec2Codec, "neucodec": NeuCodecCodec}[name], checkpoint)
    ids = before.encode(item)
    model = TinyLlavaForConditionalGeneration.from_pretrained(tmp_path / "model", dtype=torch.bfloat16)
    decoder = model.train().decoders["audio"]
    buffers = dict(before.named_buffers())
    for key, buffer in decoder.named_buffers():
        assert torch.equal(buffer, buffers[key]), key
        assert buffer.dtype == buffers[key].dtype
    assert torch.equal(decoder.encode(item), ids)
    assert np.array_equal(decoder.decode(ids).samples, before.decode(ids).samples)
