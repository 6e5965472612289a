"""Sound files whose headers lie, whose ends are cut, or that others have put tags about: the samples, or one line."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.components.modalities.sounds import HEAD, PCM, RATE, TONE, encoded, read, wav, write
from tinyllava_kit.components.modalities.audio import AudioModality
from tinyllava_kit.errors import KitError


@pytest.mark.parametrize(
    ("suffix", "message"), [("wav", "is truncated"), ("aiff", "is truncated"), ("flac", "cannot decode")]
)
def test_a_truncated_file_is_refused(tmp_path, suffix, message):
    path = write(tmp_path / f"a.{suffix}")
    whole = path.read_bytes()
    for part in (0.5, 0.99):
        path.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(KitError, match=message):
            read(path)


def test_a_wav_from_a_pipe_has_no_length_and_is_read(tmp_path):
    path = write(tmp_path / "a.wav")
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    expected = read(path).samples
    path.write_bytes(data)
    np.testing.assert_array_equal(read(path).samples, expected)


def test_a_header_that_promises_too_much_costs_no_memory(tmp_path):
    path = write(tmp_path / "a.flac")
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F  # the high bits of the number of samples: 64 thousand million
    path.write_bytes(data)
    with pytest.raises(KitError, match=r"a\.flac"):
        read(path)


@pytest.mark.parametrize("size", [1, 4, 8, 12, 20, 36, 43])
def test_a_wav_that_ends_in_its_header_is_refused(tmp_path, size):
    path = write(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(KitError, match=r"a\.wav' is truncated|cannot decode '.*a\.wav'") as error:
        read(path)
    assert "\n" not in str(error.value)


def chunk(size, content, *, pad=True, name=b"JUNK"):
    return name + struct.pack("<I", size) + content + b"\0" * (size % 2 if pad else 0)


WHOLE = len(wav()) - 8


@pytest.mark.parametrize(
    "raw",
    [
        *(wav(riff=WHOLE + more) for more in (-1, 1, 8, 10_000, -WHOLE, 0x7FFF_0000 - WHOLE)),
        *(wav(riff=riff, data=0) for riff in (0, 36, WHOLE, 0xFFFF_FFFF)),
        *(wav(data=data) for data in (0x7FFF_FFFF, 0xFFFF_FFFF, 0x8000_0000)),
        wav(before=chunk(5, b"abcde")),
        wav(before=chunk(5, b"abcde", pad=False)),
        wav(before=chunk(0, b"") * 20),
        wav(behind=chunk(4, b"abcd")),
        wav(behind=b"data" + struct.pack("<I", 2) + b"ab"),
        wav(behind=b"rubbish"),
        wav(before=chunk(4, b"data")),
    ],
)
def test_a_wav_is_its_samples_whatever_stands_about_them(tmp_path, raw):
    path = tmp_path / "a.WAV"
    path.write_bytes(raw)
    for source in (path, raw, {"bytes": raw, "path": "a.wav"}):
        sound = read(source)
        rest = len(sound.samples) - len(PCM)
        assert 0 <= rest <= 4  # a size that was never written ends with the file
        np.testing.assert_array_equal(sound.samples[: len(PCM)], PCM / np.float32(32768))
        assert len(AudioModality().probe(source).samples) == len(sound.samples)


KINDS = [
    {"format": "WAV"},
    {"format": "WAV", "endian": "BIG"},
    {"format": "WAV", "subtype": "IMA_ADPCM"},
    {"format": "WAVEX"},
    {"format": "RF64"},
    {"format": "W64"},
    {"format": "AIFF"},
    {"format": "AU"},
    {"format": "CAF"},
    {"format": "FLAC"},
    {"format": "MP3"},
    {"format": "OGG"},
    {"format": "OGG", "subtype": "OPUS"},
]


CUT = {"WAV", "WAVEX", "RF64", "W64", "AIFF", "FLAC", "MP3"}  # what is refused


def given(call, source):
    try:
        return len(call(source).samples)
    except KitError:
        return "refused"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind.values()))
@pytest.mark.parametrize("without_length", [False, True])
def test_header_and_decoding_agree_on_what_a_cut_file_gives(kind, without_length):
    raw = encoded(np.tile(TONE, 9), **kind)
    if without_length:
        if kind["format"] != "MP3":
            pytest.skip("mp3 alone may lack its length")
        raw = raw[raw.find(raw[:2], 4) :]
    whole = given(read, raw)
    assert whole != "refused"
    for size in (len(raw) - 1, len(raw) * 9 // 10, len(raw) // 2, 60):
        found = given(read, raw[:size])
        assert given(AudioModality().probe, raw[:size]) == found
        if kind["format"] in CUT and not without_length:
            assert found == "refused"
        elif found != "refused":
            assert found < whole


def id3(size, *, foot=False):
    """A tag of so many bytes in front of a sound."""
    length = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\x00" + bytes([0x10 if foot else 0]) + length + b"\xa5" * size + (b"3DI" + bytes(7)) * foot


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind.values()))
@pytest.mark.parametrize("tag", [id3(100), id3(301), id3(20, foot=True), id3(9) + id3(1001)], ids=len)
def test_a_tag_in_front_of_a_sound_takes_nothing_from_its_end(kind, tag):
    raw = encoded(TONE, **kind)
    np.testing.assert_array_equal(read(tag + raw).samples, read(raw).samples)
    assert len(AudioModality().probe(tag + raw).samples) == len(read(raw).samples)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind.values()))
def test_a_tag_behind_a_sound_is_no_sound(kind):
    raw = encoded(TONE, **kind)
    np.testing.assert_array_equal(read(raw + id3(100)).samples, read(raw).samples)


def of_format(tag, *, extensible=False):
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else tag, 1, RATE, 2 * RATE, 2, 16)
    form += struct.pack("<HHI", 22, 16, 4) + struct.pack("<H", tag) + bytes(14) if extensible else b""
    return wav()[:12] + chunk(len(form), form, name=b"fmt ") + chunk(400, bytes(400), name=b"data")


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (encoded(TONE, format="AIFF", subtype="DWVW_16"), r"its samples are 16 bit DWVW, not decoded"),
        (of_format(0x20), r"its samples are Yamaha ADPCM \(wav format 0x0020\), not decoded"),
        (of_format(0x161, extensible=True), r"its samples are WMA \(wav format 0x0161\), not decoded"),
        (of_format(0x777), r"its samples are of another encoding \(wav format 0x0777\), not decoded"),
        (encoded(TONE, format="AIFF", subtype="ULAW").replace(b"ulaw", b"QDM2"), "unimplemented format"),
        (encoded(TONE, format="CAF").replace(b"lpcm", b"aac "), "unsupported encoding"),
    ],
    ids=["dwvw", "yamaha", "extensible", "unknown", "aifc", "caf"],
)
def test_an_encoding_that_is_not_decoded_is_named_with_what_to_do(raw, named):
    for call in (read, AudioModality().probe):
        with pytest.raises(KitError, match=rf"{named}.*; convert it to PCM of 16 bits \(ffmpeg"):
            call(raw)


def test_a_header_that_was_never_finished_is_named_where_the_end_is_not_known():
    raw = encoded(TONE, format="W64")
    at = raw.find(b"data\xf3") + 16
    with pytest.raises(KitError, match="its header was never finished: it says no samples, and 6002 bytes"):
        read(raw[:at] + bytes(8) + raw[at + 8 :])


def test_a_wav_without_samples_is_empty_also_where_chunks_follow():
    raw = wav()[:HEAD]
    for behind in (b"", chunk(4, b"abcd"), chunk(3, b"abc")):
        with pytest.raises(KitError, match="is empty"):
            read(raw[:40] + bytes(4) + behind)
