"""The audio modality against soundfile's own decoding, and a table of bad input."""

from __future__ import annotations

import base64
import io
import os
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.components.modalities.sounds import PCM, RATE, TONE, encoded, read, wav, write
from tinyllava_kit.components.modalities import audio
from tinyllava_kit.components.modalities.audio import AudioModality, Waveform
from tinyllava_kit.errors import KitError


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [
        *[("wav", subtype) for subtype in ("PCM_16", "PCM_U8", "PCM_24", "FLOAT", "DOUBLE")],
        ("flac", "PCM_16"),
        ("flac", "PCM_24"),
        ("aiff", "PCM_16"),
        ("ogg", "VORBIS"),
    ],
)
def test_a_file_is_what_soundfile_decodes(tmp_path, suffix, subtype):
    path = write(tmp_path / f"tone.{suffix}", subtype=subtype)
    sound = read(path)
    expected, rate = soundfile.read(path, dtype="float32")
    assert (sound.rate_hz, sound.name) == (rate, str(path))
    assert sound.samples.dtype == np.float32
    np.testing.assert_array_equal(sound.samples, expected)


def test_an_extensible_wav_is_read(tmp_path):
    path = write(tmp_path / "a.wav", subtype="PCM_24", format="WAVEX")
    np.testing.assert_array_equal(read(path).samples, soundfile.read(path, dtype="float32")[0])


def test_opus_and_mp3_are_read(tmp_path):
    for name, kwargs in (("a.opus", {"format": "OGG", "subtype": "OPUS"}), ("a.mp3", {})):
        path = tmp_path / name
        soundfile.write(path, np.tile(TONE, 5), 16_000, **kwargs)
        assert len(read(str(path)).samples) == 5 * len(TONE)


def test_a_file_longer_than_a_block_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "_BLOCK", 997)
    np.testing.assert_array_equal(read(write(tmp_path / "a.wav", subtype="FLOAT")).samples, TONE)


def test_a_file_object_is_read_like_its_path(tmp_path):
    path = write(tmp_path / "a.flac")
    with path.open("rb") as file:
        sound = read(file)
    np.testing.assert_array_equal(sound.samples, read(path).samples)
    assert sound.name == str(path)
    assert read(io.BytesIO(path.read_bytes())).name == "audio stream"


def test_arrays_of_any_usual_type_give_the_same_sound():
    levels = np.array([0.0, 0.5, -1.0, 0.25], dtype=np.float32)
    for array in (levels, levels.astype(np.float64), levels.astype(np.float16), levels.tolist(), levels[:, None]):
        np.testing.assert_array_equal(read((array, RATE)).samples, levels)
    for dtype in (np.int8, np.int16, np.int32):
        scaled = (levels.astype(np.float64) * -float(np.iinfo(dtype).min)).astype(dtype)
        np.testing.assert_array_equal(read((scaled, RATE)).samples, levels)
    np.testing.assert_array_equal(read((np.array([128, 192, 0, 160], dtype=np.uint8), RATE)).samples, levels)


def test_a_decoded_row_of_datasets_is_read_and_keeps_its_file_name():
    sound = read({"array": TONE, "sampling_rate": RATE, "path": "clips/7.wav"})
    assert (sound.rate_hz, sound.name, len(sound.samples)) == (RATE, "clips/7.wav", len(TONE))


def test_the_array_that_was_given_is_not_shared():
    given = TONE.copy()
    sound = read((given, RATE))
    given[:] = 0
    np.testing.assert_array_equal(sound.samples, TONE)


def test_channels_are_averaged(tmp_path):
    channels = np.stack([TONE, 0.5 * TONE, np.zeros_like(TONE)], axis=1)
    expected = channels.mean(axis=1)
    np.testing.assert_allclose(read((channels, RATE)).samples, expected, atol=1e-7)
    np.testing.assert_allclose(read(write(tmp_path / "a.wav", channels, subtype="FLOAT")).samples, expected, atol=1e-7)


def test_channels_that_cancel_are_warned_about():
    with pytest.warns(UserWarning, match="'audio array': the channels cancel"):
        sound = read((np.stack([TONE, -TONE], axis=1), RATE))
    assert not sound.samples.any()


def test_silence_is_a_sound():
    assert not read((np.zeros((7, 2)), RATE)).samples.any()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (([], RATE), "'audio array' is empty"),
        ((np.float32(1), RATE), r"has shape \(\); expected \(n,\) or \(n, channels\)"),
        ((np.zeros((2, 3001)), RATE), r"has shape \(2, 3001\); expected .* transpose it"),
        ((np.zeros((1, 3001)), RATE), "transpose it"),
        ((np.zeros((3, 5, 7)), RATE), r"has shape \(3, 5, 7\)"),
        ((np.zeros((3001, 9)), RATE), "has 9 channels; expected 1 to 8"),
        ((np.zeros((5, 0)), RATE), "has 0 channels"),
        ((np.array([0.1, np.nan, 0.2]), RATE), "is not finite at sample 1"),
        ((np.array([0.1, 0.2, np.inf]), RATE), "is not finite at sample 2"),
        ((np.array([1e300]), RATE), "is not finite at sample 0"),
        ((np.zeros(5, dtype=np.int64), RATE), "samples of type int64; expected float"),
        ((np.zeros(5, dtype=complex), RATE), "samples of type complex128"),
        ((["a", "b"], RATE), "samples of type <U1"),
        (([[0.1, 0.2], [0.3]], RATE), "is no array of samples"),
        ((TONE, 0), "has rate 0; expected an integer from 1000 to 768000 Hz"),
        ((TONE, -16_000), "has rate -16000"),
        ((TONE, 44_100.5), "has rate 44100.5"),
        ((TONE, float("nan")), "has rate nan"),
        ((TONE, True), "has rate bool"),
        ((RATE, TONE), r"has rate ndarray; expected .* given as \(array, rate\)"),
        ({"array": TONE}, "an audio source of type dict; give a path"),
        ({}, "an audio source of type NoneType; give a path"),
        ({"bytes": None}, "an audio source of type NoneType; give a path"),
        ({"path": 5}, "an audio source of type int; give a path"),
        (TONE, "an audio source of type ndarray"),
        (None, "an audio source of type NoneType"),
        (io.StringIO("a sound"), "is open as text"),
        (io.BytesIO(), "cannot decode 'audio stream': Format not recognised"),
    ],
)
def test_a_bad_source_is_one_line(source, message):
    with pytest.raises(KitError, match=message) as error:
        read(source)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_directory_are_named(tmp_path):
    for path, message in ((tmp_path / "no.wav", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(KitError, match=f"cannot open '{path}': {message}"):
            read(path)


def test_a_file_that_is_no_sound_is_named(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"<html>not found</html>" * 50)
    with pytest.raises(KitError, match=r"cannot decode '.*a\.wav': Format not recognised\.; expected a whole wav"):
        read(path)


def test_an_empty_wav_is_refused(tmp_path):
    with pytest.raises(KitError, match=r"a\.wav' is empty"):
        read(write(tmp_path / "a.wav", TONE[:0]))


def test_a_float_wav_with_nan_is_refused(tmp_path):
    spoiled = TONE.copy()
    spoiled[1234] = np.nan
    with pytest.raises(KitError, match=r"a\.wav' is not finite at sample 1234"):
        read(write(tmp_path / "a.wav", spoiled, subtype="FLOAT"))


def test_a_file_of_nine_channels_is_refused(tmp_path):
    with pytest.raises(KitError, match=r"a\.wav' has 9 channels"):
        read(write(tmp_path / "a.wav", np.zeros((31, 9))))


def test_a_sound_longer_than_the_limit_is_refused_while_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "MAX_SECONDS", 3)
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(4 * 8000), 8000)
    with pytest.raises(KitError, match=r"a\.flac' is longer than 3 s; cut it"):
        read(path)


def test_a_stream_that_cannot_seek_is_refused():
    class Pipe(io.BytesIO):
        def tell(self):
            raise io.UnsupportedOperation("not seekable")

    with pytest.raises(KitError, match="cannot read 'audio stream': not seekable; give a file that can seek"):
        read(Pipe(b"RIFF"))


def test_without_soundfile_the_message_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav")
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(
        KitError, match=r"cannot read '.*a\.wav': a sound file needs soundfile; pip install 'tinyllava-kit\[audio\]'"
    ):
        read(path)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_a_wav_of_the_standard_library_is_read_bit_by_bit(tmp_path, width, channels):
    """The truth is the integers that were written; 8 bits have their zero at 128."""
    path, full = tmp_path / "a.wav", 1 << (8 * width - 1)
    chance = np.random.default_rng(width)
    values = chance.integers(-full, full, (997, channels)) // channels * channels  # so that a mean of two is exact
    values[:, -1] = values[:, 0]
    stored = (values + 128 if width == 1 else values).astype("<i8")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(RATE)
        file.writeframes(stored[..., None].view(np.uint8)[..., :width].tobytes())
    sound = read(path)
    assert sound.rate_hz == RATE
    np.testing.assert_array_equal(sound.samples, (values[:, 0] / full).astype(np.float32))


def test_a_sound_that_was_read_is_read_already():
    sound = read((TONE, RATE))
    assert read(sound) is sound


def test_undecoded_rows_of_datasets_are_read(tmp_path):
    path = write(tmp_path / "a.wav", subtype="FLOAT")
    inside = {"bytes": path.read_bytes(), "path": "elsewhere.wav"}
    np.testing.assert_array_equal(read(inside).samples, TONE)
    assert read(inside).name == "elsewhere.wav"
    np.testing.assert_array_equal(read({"bytes": None, "path": str(path)}).samples, TONE)


def decode_the_last_sample_alone(monkeypatch):
    decode = soundfile.SoundFile.read

    def read_one(self, frames=-1, **how):
        assert (frames, self.tell()) == (1, self.frames - 1)
        return decode(self, frames, **how)

    monkeypatch.setattr(soundfile.SoundFile, "read", read_one)


def test_the_size_is_in_seconds_and_needs_no_decoding(tmp_path, monkeypatch):
    path = write(tmp_path / "a.flac")
    decode_the_last_sample_alone(monkeypatch)
    assert AudioModality().measure(str(path)) == pytest.approx(len(TONE) / RATE)
    with pytest.raises(KitError, match=r"cannot open .*no\.wav"):
        AudioModality().measure(str(tmp_path / "no.wav"))


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.ogg", "a.mp3"])
def test_a_probe_is_as_long_as_the_sound_and_takes_no_memory(tmp_path, monkeypatch, name):
    path = tmp_path / name
    soundfile.write(path, np.tile(TONE, 5)[:-7], 16_000)
    sound = read(str(path))
    decode_the_last_sample_alone(monkeypatch)
    for source in (str(path), {"bytes": path.read_bytes(), "path": str(path)}, sound):
        probe = AudioModality().probe(source)
        assert (len(probe.samples), probe.rate_hz, probe.name) == (len(sound.samples), 16_000, str(path))
        assert probe.samples.strides == (0,)


def test_a_probe_of_an_array_is_as_long_as_the_array():
    probe = AudioModality().probe({"array": np.stack([TONE, TONE], axis=1), "sampling_rate": RATE})
    assert (len(probe.samples), probe.samples.strides, probe.rate_hz) == (len(TONE), (0,), RATE)


def test_a_probe_is_cut_as_the_sound_is():
    modality = AudioModality(marker_seconds=30)
    sound = modality.read((np.ones(70_500), 1000))
    parts, probes = modality.expand(sound, None), modality.expand(modality.probe(sound), None)
    assert [p if isinstance(p, str) else len(p.samples) for p in parts] == [
        p if isinstance(p, str) else len(p.samples) for p in probes
    ]


def test_a_probe_refuses_what_its_header_shows(tmp_path, monkeypatch):
    cut = write(tmp_path / "cut.wav")
    cut.write_bytes(cut.read_bytes()[:-100])
    long, empty = write(tmp_path / "long.flac"), write(tmp_path / "empty.wav", TONE[:0])
    many = write(tmp_path / "many.wav", np.zeros((5, 9)))
    monkeypatch.setattr(audio, "MAX_SECONDS", 0.2)
    cases = ((cut, "is truncated"), (long, "is longer than 0.2 s"), (empty, "is empty"), (many, "has 9 channels"))
    for path, message in cases:
        with pytest.raises(KitError, match=rf"{path.name}.*{message}"):
            AudioModality().probe(str(path))


def test_blank_is_silence_of_the_same_length():
    blank = AudioModality().blank(read((TONE, RATE)))
    assert (len(blank.samples), blank.rate_hz, np.abs(blank.samples).max()) == (len(TONE), RATE, 0.0)


def test_markers_say_when_each_part_starts_and_nothing_is_lost():
    modality = AudioModality(marker_seconds=30)
    samples = np.arange(70 * 1000, dtype=np.float32) / 70_000
    first, a, second, b, third, c = modality.expand(modality.read((samples, 1000)), None)
    assert (first, second, third) == ("[0:00]", "[0:30]", "[1:00]")
    np.testing.assert_array_equal(np.concatenate([a.samples, b.samples, c.samples]), samples)
    assert [len(p.samples) for p in (a, b, c)] == [30_000, 30_000, 10_000]


def test_a_short_rest_stays_with_the_part_before_it():
    modality = AudioModality(marker_seconds=30)
    whole = modality.expand(modality.read((np.ones(30_500), 1000)), None)
    assert [p if isinstance(p, str) else len(p.samples) for p in whole] == ["[0:00]", 30_500]


def test_markers_closer_than_a_second_are_refused():
    with pytest.raises(KitError, match=r"marker_seconds must be 0 or 1\.0 to 7200, got 0\.3"):
        AudioModality(marker_seconds=0.3)


# Writing.


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
def test_a_sound_is_written_and_read_again(ending: str, tmp_path: Path) -> None:
    samples = (0.5 * np.sin(np.arange(4000) * 0.1)).astype(np.float32)
    path = str(tmp_path / f"out.{ending}")
    AudioModality().write(Waveform(samples, 8000, "it"), path)
    again = AudioModality().read(path)
    assert (again.rate_hz, len(again.samples)) == (8000, 4000)
    assert np.abs(again.samples - samples).max() < (0.1 if ending == "ogg" else 1e-4)
    assert [file.name for file in tmp_path.iterdir()] == [f"out.{ending}"]


def test_pieces_of_a_sound_are_joined_in_order() -> None:
    pieces = [Waveform(np.full(n, n, np.float32), 8000, "it") for n in (1, 2)]
    assert AudioModality().join(pieces).samples.tolist() == [1.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("name", "message"),
    [("out.txt", "give a file that ends in .wav, .flac or .ogg"), ("gone/out.wav", "cannot write '.*gone/out.wav'")],
)
def test_a_sound_that_cannot_be_written_is_one_line(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(KitError, match=message):
        AudioModality().write(Waveform(np.zeros(4, np.float32), 8000, "it"), str(tmp_path / name))
    assert list(tmp_path.iterdir()) == []


def given(call, source):
    try:
        return len(call(source).samples)
    except KitError:
        return "refused"


@pytest.mark.parametrize(
    "kind",
    [
        {"format": "WAV", "subtype": "G721_32"},
        {"format": "WAV", "subtype": "NMS_ADPCM_32"},
        {"format": "WAV", "subtype": "MS_ADPCM"},
        {"format": "WAV", "subtype": "GSM610"},
        {"format": "WAV", "subtype": "ULAW"},
        {"format": "AIFF", "subtype": "GSM610"},
        {"format": "AU", "subtype": "G723_24"},
    ],
    ids=lambda kind: "-".join(kind.values()),
)
def test_encodings_that_cannot_seek_are_read_and_counted(kind):
    raw = encoded(TONE, **kind)
    expected, _ = soundfile.read(io.BytesIO(raw), dtype="float32")
    np.testing.assert_array_equal(read(raw).samples, expected)
    assert len(AudioModality().probe(raw).samples) == len(expected)


def test_sounds_are_bounded_by_what_they_decode_to(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "MAX_BYTES", 1 << 20)
    path = tmp_path / "a.ogg"
    soundfile.write(path, np.zeros((1 << 18) + 1, np.float32), 8000)
    assert path.stat().st_size < 5000
    decode = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", None)  # known from the header
    for call in (read, AudioModality().probe, AudioModality().measure):
        with pytest.raises(KitError, match=r"a\.ogg' has more samples than 1 MiB hold, 32 s at 8000 Hz; cut it"):
            call(path)
    monkeypatch.setattr(soundfile.SoundFile, "read", decode)
    monkeypatch.setattr(audio, "_check_length", lambda frames, *_: frames > 1 << 18 and pytest.fail("decoded on"))
    soundfile.write(path, np.zeros(1 << 18, np.float32), 8000)
    assert len(read(path).samples) == 1 << 18


def test_what_a_sound_takes_is_known_from_its_header(tmp_path, monkeypatch):
    path = write(tmp_path / "a.flac")
    whole = read(path)
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda self, frames=-1, **_: np.zeros(frames))
    modality = AudioModality()
    assert modality.decoded_bytes(modality.probe(path)) == modality.decoded_bytes(whole) == 4 * len(TONE)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
def test_a_sound_that_is_written_in_blocks_is_the_same_file(tmp_path, monkeypatch, ending):
    sound = Waveform(TONE, RATE, "tone")
    AudioModality().write(sound, str(tmp_path / f"whole.{ending}"))
    monkeypatch.setattr(audio, "_BLOCK", 500)
    AudioModality().write(sound, str(tmp_path / f"blocks.{ending}"))
    whole, blocks = (read(tmp_path / f"{name}.{ending}").samples for name in ("whole", "blocks"))
    np.testing.assert_allclose(blocks, whole, atol=2e-3)  # vorbis looks at what it is given at once


def test_a_header_that_lies_is_found_out_while_the_sound_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "MAX_BYTES", 4000)
    monkeypatch.setattr(audio, "_BLOCK", 500)
    monkeypatch.setattr(soundfile.SoundFile, "frames", 10)
    monkeypatch.setattr(soundfile.SoundFile, "seekable", lambda _: False)
    with pytest.raises(KitError, match="has more samples than 0 MiB hold"):
        read(write(tmp_path / "a.wav"))


@pytest.mark.parametrize("call", [AudioModality().read, AudioModality().probe, AudioModality().measure])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, call):
    os.mkfifo(tmp_path / "pipe.wav")
    for source, message in (
        (tmp_path / "pipe.wav", r"cannot open '.*pipe\.wav': is a pipe and not a file"),
        ({"bytes": None, "path": str(tmp_path / "pipe.wav")}, "is a pipe"),
        ("/dev/zero", "cannot open '/dev/zero': is a device and not a file"),
        ("a\0.wav", r"cannot open 'a\\x00\.wav': no file can have this name"),
        ("a\ud83d.wav", r"cannot open 'a\\ud83d\.wav': no file can have this name"),
        ("a" * 5000, "cannot open 'aaa.*File name too long"),
        ({"bytes": 5}, "an audio source of type int"),
        ("https://example.com/a.wav", "sound 'https://example.com/a.wav' is an address; download it"),
        ("file:///a.wav", "is an address"),
        ("data:audio/wav;base64,?", "is not base64"),
        ("data:audio/wav;base64,AAAA", "cannot decode 'data: address': "),
    ):
        with pytest.raises(KitError, match=message) as error:
            call(source)
        assert len(str(error.value)) < 400


def test_a_sound_as_text_is_the_sound(tmp_path):
    raw = wav()
    text = base64.b64encode(raw).decode()
    for source in (text, f"data:audio/wav;base64,{text}", {"bytes": text, "path": None}, {"data": text}):
        np.testing.assert_array_equal(read(source).samples, read(raw).samples)
        assert len(AudioModality().probe(source).samples) == len(PCM)


def test_a_streamed_flac_is_refused_for_what_it_is() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(16000) / 9) * 0.3, 16000, format="FLAC")
    raw = file.getvalue()
    raw = raw[:21] + bytes([raw[21] & 0xF0]) + b"\0\0\0\0" + raw[26:]  # no number of samples
    for call in (AudioModality().read, AudioModality().probe):
        with pytest.raises(KitError, match="was streamed: its header has no length; save it again"):
            call(raw)
