"""A toy voice beside a slow loop; a model that speaks, saved and asked."""

from __future__ import annotations

import copy
import json
import unicodedata
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tinyllava_kit_speech_piper.contract import HOLD, IDS, RATE, level
from tinyllava_kit_speech_piper.decoder import PiperDecoder
from tinyllava_kit_speech_piper.phonemes import espeak, phonemes
from tinyllava_kit_speech_piper.sentences import sentences

from tests import toys
from tinyllava_kit import (
    Assembly,
    KitError,
    TinyLlavaForConditionalGeneration,
    TinyLlavaProcessor,
    assemble,
    question,
    read_blueprint,
    replies,
    report_parts,
)
from tinyllava_kit.components import PAUSE_SECONDS
from tinyllava_kit_cli import app

TEXT = "Hello, you! This is 3."


def build(file: str, **options) -> PiperDecoder:
    decoder = PiperDecoder(PiperDecoder.read_config(file, **options))
    decoder.load_weights(file)
    return decoder


def slow(spoken: list[str], hold: int = HOLD) -> np.ndarray:
    """What the toy voice makes of sentences of phonemes."""
    samples: list[float] = []
    for number, sentence in enumerate(spoken):
        samples += [0.0] * round(PAUSE_SECONDS * RATE) if number else []
        ids = IDS["^"] + IDS["_"]
        for phoneme in sentence:
            ids = ids + IDS[phoneme] + IDS["_"] if phoneme in IDS else ids
        for each in ids + IDS["$"]:
            samples += [level(each)] * hold
    return np.array(samples, np.float32)


def test_words_become_the_phonemes_of_espeak():
    assert espeak()("hello Mr Smith, 3.5", "en-us") == "həlˈoʊ mˈɪstɚ smˈɪθ θɹˈiː pɔɪnt fˈaɪv"
    assert [phonemes(sentence, "en-us") for sentence in sentences(TEXT)] == ["həlˈoʊ, juː!", "ðɪs ɪz θɹˈiː."]


def test_accents_stand_apart_and_marks_of_other_languages_are_left_out():
    french = espeak()("un bon vin", "fr")
    assert french == unicodedata.normalize("NFD", french)
    assert "\N{COMBINING TILDE}" in french
    assert "(" not in espeak()("le weekend, un meeting, le smartphone", "fr")
    with pytest.raises(KitError, match="espeak-ng has no voice 'xx-toy'"):
        espeak().check("xx-toy")
    assert espeak()("three", "en-us") == "θɹˈiː"  # a refused voice changes nothing


@pytest.mark.parametrize("varied", [False, True])
def test_a_text_is_said_sentence_by_sentence(voice, varied):
    decoder = build(voice(), varied=varied)
    said, again = decoder.decode(TEXT), decoder.decode(TEXT)
    expected = slow(["həlˈoʊ, juː!", "ðɪs ɪz θɹˈiː."])
    assert (said.rate_hz, said.samples.dtype, said.samples.shape) == (RATE, np.float32, expected.shape)
    assert np.array_equal(said.samples, again.samples) != varied
    if not varied:
        np.testing.assert_allclose(said.samples, expected, atol=1e-7)


def test_speed_and_speaker_reach_the_voice(voice):
    file = voice(num_speakers=3)
    decoder = build(file, speed=2.0, speaker=2)
    alone = slow(["θɹˈiː."], hold=HOLD // 2)
    np.testing.assert_allclose(decoder.decode("three").samples, alone + 2 / 512, atol=1e-7)
    with pytest.raises(KitError, match=r"has 3 speaker\(s\), counted from 0; got 3"):
        build(file, speaker=3)
    with pytest.raises(KitError, match=r"speed must be 0.25 to 4.0, got 0"):
        build(file, speed=0)


def test_a_text_without_a_word_is_refused(voice):
    with pytest.raises(KitError, match=r"nothing to say in '\*\*\.\.\.'"):
        build(voice()).decode("**...")


def test_a_copy_speaks_too(voice):
    decoder = build(voice())
    before = decoder.decode("one").samples
    assert np.array_equal(copy.deepcopy(decoder).decode("one").samples, before)


def test_what_is_no_voice_is_refused(voice, tmp_path):
    for checkpoint in ("", str(tmp_path), str(tmp_path / "gone.onnx")):
        with pytest.raises(KitError, match=r"no Piper voice .*; write piper:FILE\.onnx, with its FILE\.onnx\.json"):
            build(checkpoint)
    file = voice()
    settings = Path(f"{file}.json")
    good = json.loads(settings.read_text())
    for changes, said in [
        ({"phoneme_type": "text"}, "does not take espeak-ng's phonemes unchanged"),
        ({"phoneme_map": {"a": ["b"]}}, "does not take espeak-ng's phonemes unchanged"),
        ({"phoneme_id_map": {"a": [1]}}, "holds no settings of a Piper voice: '_'"),
        ({"inference": {}}, "holds no settings of a Piper voice: 'noise_scale'"),
        ({"espeak": {"voice": "xx-toy"}}, "espeak-ng has no voice 'xx-toy'"),
    ]:
        settings.write_text(json.dumps({**good, **changes}))
        with pytest.raises(KitError, match=said):
            build(file)
    settings.write_text("[")
    with pytest.raises(KitError, match="not JSON"):
        build(file)
    settings.unlink()
    with pytest.raises(KitError, match=r"No such file or directory; it comes with the voice's .onnx file"):
        build(file)
    settings.write_text(json.dumps({**good, "num_speakers": 2}))
    with pytest.raises(KitError, match=r"takes \['input', 'input_lengths', 'scales'\]; a Piper voice takes .*'sid'"):
        build(file)
    Path(file).write_bytes(b"no graph")
    settings.write_text(json.dumps(good))
    with pytest.raises(KitError, match="onnxruntime cannot read it"):
        build(file)


@pytest.fixture
def spoken(voice, tmp_path):
    """A directory with a toy model that reads its answers aloud."""
    assembly = Assembly.from_flags(
        llm=f"llama:{toys.save_llama(tmp_path / 'llm')}", decoders=[f"audio=piper:{voice()}"]
    )
    torch.manual_seed(2)
    for part in assemble(assembly):
        part.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_model_needs_no_voice_file_and_says_its_answer(spoken, voice, tmp_path):
    expected = build(voice()).decode(TEXT).samples
    (tmp_path / "toy.onnx").unlink()
    model = TinyLlavaForConditionalGeneration.from_pretrained(spoken, dtype=torch.bfloat16)
    processor = TinyLlavaProcessor.from_pretrained(spoken)
    assert np.array_equal(model.decoders["audio"].decode(TEXT).samples, expected)
    asked = [question(words, [], processor) for words in ("who?", "where?")]
    for reply in replies(model, processor, asked, force=["audio"], max_new_tokens=12):
        (sound,) = reply.items("audio")
        assert np.array_equal(sound.item.samples, model.decoders["audio"].decode(reply.text).samples)


def test_ask_writes_what_it_says(spoken, tmp_path):
    out = tmp_path / "out.wav"
    done = CliRunner().invoke(app.cli, ["ask", str(spoken), "who?", "--speak", str(out), "--max-new-tokens", "12"])
    assert done.exit_code == 0, done.output
    with wave.open(str(out)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        assert file.getnframes() > HOLD


def test_the_licence_of_a_voice_is_that_of_its_folders_card(voice, tmp_path):
    file = voice()
    (tmp_path / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    blueprint = read_blueprint(
        Assembly.from_flags(llm=f"llama:{toys.save_llama(tmp_path / 'llm')}", decoders=[f"audio=piper:{file}"])
    )
    assert [cost.component.licence for cost in report_parts(blueprint)] == ["", "cc0-1.0"]
