"""Synthetic speech for training: sentences that are not held out, spoken by espeak-ng and by flite.

Neither needs to be installed: espeak-ng is a shared library in a wheel, called through ctypes; flite is a program in
Debian packages, run from where they are unpacked.
"""

from __future__ import annotations

import ctypes
import os
import random
import re
import subprocess
import tempfile
import wave
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from examples.assets import last_line, unpack_deb
from examples.speech.recordings import seconds
from examples.speech.texts import Row, normalised, sentences, write_rows
from tinyllava_kit import KitError

SEED = 17
CLIPS = 1500
LONGEST_TEXT = 25  # words
WORDS_A_MINUTE = 165  # of an espeak-ng voice at its own speed
SLOWEST, FASTEST = 0.85, 1.15  # of a voice's own speed

# flite's are drawn twice as often: on eight sentences Whisper tiny.en made 6 to 22 % word errors with them, 18 to 34 %
# with espeak-ng's.
FLITE_VOICES = ("rms", "slt", "awb", "kal16")
ESPEAK_VOICES = ("en-us", "en-us+m3", "en-us+f2", "en-gb-x-rp")
VOICES = [("flite", name) for name in FLITE_VOICES] * 2 + [("espeak-ng", name) for name in ESPEAK_VOICES]

Say = Callable[[str, str, float, Path], None]  # text, voice, speed, the WAV file to write


def make_voices(
    espeak: Path,
    flite: Path,
    libflite: Path,
    libasound: Path,
    folder: Path,
    *,
    transcripts: Iterable[str],
    captions: Iterable[str],
    held_out: Collection[str],
) -> str:
    """``clips/*.wav`` and ``train.jsonl`` of audio, text and voice.

    Args:
        espeak: the wheel with espeak-ng's library.
        flite: the Debian package of the program, as `libflite` and `libasound` are of what it needs.
        folder: the folder to fill.
        transcripts: sentences to say, and to make new ones of.
        captions: more sentences to say.
        held_out: what no voice may say, normalised.
    """
    texts = spoken_texts(transcripts, captions, held_out, CLIPS)
    (folder / "clips").mkdir()
    with tempfile.TemporaryDirectory() as tools:
        say = {
            "espeak-ng": Espeak(espeak, Path(tools) / "espeak-ng"),
            "flite": flite_in([flite, libflite, libasound], Path(tools) / "flite"),
        }
        rows = list(_said(texts, say, folder))
    write_rows(folder / "train.jsonl", rows)
    minutes = sum(seconds(folder / row["audio"]) for row in rows) / 60
    voices = len({row["voice"] for row in rows})
    words = len({word for text in texts for word in normalised(text).split()})
    return f"{len(rows)} clips, {minutes:.1f} minutes, {voices} voices, {words} different words"


def spoken_texts(
    transcripts: Iterable[str], captions: Iterable[str], held_out: Collection[str], count: int
) -> list[str]:
    """Transcripts and captions as far as they can be read aloud and are not held out, then new sentences.

    The new ones are made of the words of the transcripts. No two texts say the same.
    """
    sayable = [text for text in transcripts if _can_be_read_aloud(text)]
    said = {normalised(text): text for text in [*captions, *sayable] if _can_be_read_aloud(text)}
    given = [text for words, text in said.items() if words not in held_out][:count]
    return given + sentences(sayable, count - len(given), {*held_out, *said}, SEED)


def _can_be_read_aloud(text: str) -> bool:
    """Whether a voice can read a text: words and figures, not signs, and not too many."""
    return bool(re.fullmatch(r"[A-Za-z0-9 ,.'?!:;-]*[A-Za-z0-9][ .?!]*", text)) and len(text.split()) <= LONGEST_TEXT


def _said(texts: Sequence[str], say: Mapping[str, Say], folder: Path) -> Iterator[Row]:
    """The rows of the texts, each said by a voice and at a speed drawn for it."""
    draw = random.Random(SEED)
    for index, text in enumerate(texts):
        tool, voice = draw.choice(VOICES)
        audio = f"clips/{index:04}.wav"
        say[tool](text, voice, draw.uniform(SLOWEST, FASTEST), folder / audio)
        yield {"audio": audio, "text": text, "voice": f"{tool} {voice}"}


def flite_in(debs: Iterable[Path], folder: Path) -> Say:
    """flite, unpacked into `folder` with the libraries it needs."""
    for deb in debs:
        unpack_deb(deb, folder)
    program = folder / "usr/bin/flite"
    libraries = next((folder / "usr/lib").glob("*/libflite.so.1")).parent
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}

    def say(text: str, voice: str, speed: float, target: Path) -> None:
        command = [program, "-voice", voice, "--setf", f"duration_stretch={1 / speed:.3f}", "-t", text, "-o", target]
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        if run.returncode or not target.is_file():
            raise KitError(f"flite cannot say {text!r}: {last_line(run, 'it wrote no file')}")

    return say


# From espeak-ng's speak_lib.h.
_SYNCHRONOUS, _DO_NOT_EXIT, _RATE, _CHARACTERS, _UTF8 = 2, 0x8000, 1, 1, 1
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """espeak-ng, unpacked into a folder; says a text when called.

    Raises:
        KitError: it does not start: it finds no data where the folder's path is long (about 130 characters).
    """

    def __init__(self, wheel: Path, folder: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        home = folder / "espeakng_loader"
        self._library = ctypes.CDLL(str(home / "libespeak-ng.so"))
        self._library.espeak_Synth.argtypes = [
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint),
            *(ctypes.c_void_p, ctypes.c_void_p),
        ]
        self._rate_hz = self._library.espeak_Initialize(_SYNCHRONOUS, 0, str(home).encode(), _DO_NOT_EXIT)
        if self._rate_hz <= 0:
            raise KitError(f"espeak-ng does not start in {home}; set TMPDIR to a folder with a short path")
        self._samples = bytearray()
        self._callback = _Callback(self._collect)  # kept, because the library calls it
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: int | None, count: int, _: int | None) -> int:
        self._samples += ctypes.string_at(samples, 2 * count) if samples else b""
        return 0  # go on

    def __call__(self, text: str, voice: str, speed: float, target: Path) -> None:
        self._samples.clear()
        spoken = text.encode()
        failed = self._library.espeak_SetVoiceByName(voice.encode())
        self._library.espeak_SetParameter(_RATE, round(WORDS_A_MINUTE * speed), 0)
        failed = failed or self._library.espeak_Synth(spoken, len(spoken) + 1, 0, _CHARACTERS, 0, _UTF8, None, None)
        if failed or not self._samples:
            raise KitError(f"espeak-ng cannot say {text!r} as {voice}: error {failed}, {len(self._samples)} bytes")
        with wave.open(str(target), "wb") as file:
            file.setparams((1, 2, self._rate_hz, 0, "NONE", ""))  # mono, 16 bits
            file.writeframes(bytes(self._samples))
