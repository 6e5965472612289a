"""Beside transformers' own model; and in a model of this kit, saved and asked."""

from __future__ import annotations

import wave

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tinyllava_kit_speech_vits.decoder import VitsDecoder

from tests import toys
from tinyllava_kit import Assembly, KitError, TinyLlavaForConditionalGeneration, assemble
from tinyllava_kit.components import PAUSE_SECONDS
from tinyllava_kit_cli import app

TEXT = "Hello, my friend. It's a dog!\nhow 2 big"


def build(checkpoint: str, **options) -> VitsDecoder:
    decoder = VitsDecoder(VitsDecoder.read_config(checkpoint, **options))
    decoder.load_weights(checkpoint)
    return decoder.eval()


@torch.no_grad()
def reference(toy, sentences: list[str], *, speaker: int | None = None, rate: float = 1.0) -> np.ndarray:
    """Transformers' model without its noise, a sentence after the other."""
    model, tokenizer, _ = toy
    model.noise_scale = model.noise_scale_duration = 0.0
    pieces = []
    for sentence in sentences:
        ids = tokenizer(sentence, return_tensors="pt").input_ids
        pieces += [model(ids, speaker_id=speaker, speaking_rate=rate).waveform[0]]
        pieces += [torch.zeros(round(PAUSE_SECONDS * model.config.sampling_rate))]
    return torch.cat(pieces[:-1]).numpy()


def test_it_says_what_transformers_model_says_sentence_by_sentence(toy):
    made = toy()
    decoder = build(made[2])
    said = decoder.decode(TEXT)
    expected = reference(made, ["hello my friend", "it's a dog", "how  big"])
    assert (said.rate_hz, said.samples.dtype) == (8000, np.float32)
    assert 0.05 < np.abs(expected).max() < 0.95
    np.testing.assert_allclose(said.samples, expected, rtol=0, atol=1e-6)
    assert np.array_equal(decoder.decode(TEXT).samples, said.samples)
    assert not any(name.startswith("voice.posterior") for name in decoder.state_dict())


def test_noise_comes_from_torchs_generator(toy):
    decoder = build(toy()[2], varied=True)
    said = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        said.append(decoder.decode("hello").samples)
    assert np.array_equal(said[0], said[1])
    assert said[0].shape != said[2].shape or not np.array_equal(said[0], said[2])


def test_speed_and_speaker_reach_the_voice(toy):
    made = toy(num_speakers=3, speaker_embedding_size=6)
    decoder = build(made[2], speaker=2, speed=0.5)
    expected = reference(made, ["hello"], speaker=2, rate=0.5)
    np.testing.assert_allclose(decoder.decode("hello").samples, expected, rtol=0, atol=1e-6)
    assert len(expected) > len(reference(made, ["hello"], speaker=2))
    with pytest.raises(KitError, match=r"has 3 speaker\(s\), counted from 0; got 3"):
        build(made[2], speaker=3)
    with pytest.raises(KitError, match=r"speed must be 0.25 to 4.0, got 5"):
        build(made[2], speed=5)


def test_a_text_without_a_character_of_the_voice_is_refused(toy):
    decoder = build(toy()[2])
    for text in ("", "...", "42", "你好"):
        with pytest.raises(KitError, match=r"nothing to say in .*; expected at least one word"):
            decoder.decode(text)


def test_what_is_no_voice_is_refused(toy, tmp_path):
    with pytest.raises(KitError, match="is a 'llama' checkpoint; this component takes 'vits'"):
        build(str(toys.save_llama(tmp_path / "llm")))
    with pytest.raises(KitError, match="no checkpoint directory"):
        build(str(tmp_path / "gone"))
    with pytest.raises(KitError, match=r"the tokenizer of .* needs phonemizer; pip install phonemizer"):
        build(toy(phonemize=True)[2])
    config = VitsDecoder.read_config(toy()[2])
    with pytest.raises(KitError, match="weights: "):
        VitsDecoder(config).load_weights(toy(hidden_size=20)[2])


def test_a_saved_model_needs_no_checkpoint_and_ask_writes_what_it_says(toy, tmp_path):
    checkpoint = toy()[2]
    assembly = Assembly.from_flags(
        llm=f"llama:{toys.save_llama(tmp_path / 'llm')}", decoders=[f"audio=vits:{checkpoint}"]
    )
    torch.manual_seed(2)
    for part in assemble(assembly):
        part.save_pretrained(tmp_path / "model")
    expected = build(checkpoint).decode(TEXT).samples
    model = TinyLlavaForConditionalGeneration.from_pretrained(tmp_path / "model", dtype=torch.bfloat16)
    np.testing.assert_allclose(model.train().decoders["audio"].decode(TEXT).samples, expected, rtol=0, atol=1e-6)
    out = tmp_path / "out.wav"
    words = ["ask", str(tmp_path / "model"), "who?", "--speak", str(out), "--max-new-tokens", "12"]
    done = CliRunner().invoke(app.cli, words)
    assert done.exit_code == 0, done.output
    with wave.open(str(out)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes() > 0) == (8000, 1, True)
