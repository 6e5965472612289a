"""Words to IPA phonemes: espeak-ng, a library called through ctypes."""

from __future__ import annotations

import ctypes
import functools
import re
import threading
import unicodedata
from collections.abc import Sequence

from tinyllava_kit import KitError
from tinyllava_kit.files import first_line

from .sentences import ENDS, Clause

# From espeak-ng's speak_lib.h.
_SYNCHRONOUS, _DO_NOT_EXIT, _UTF8, _IPA = 2, 0x8000, 1, 2

_LANGUAGE_MARK = re.compile(r"\([a-z-]+\)")  # stands where espeak-ng reads a word in another language


class Espeak:
    """espeak-ng, which keeps its state in globals: there is one of it in a process, see `espeak`.

    Raises:
        KitError: it is not installed, or does not start.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader

            self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        except (ImportError, OSError) as error:
            raise KitError(f"espeak-ng cannot be used: {first_line(error)}; pip install espeakng-loader") from error
        data = espeakng_loader.get_data_path()
        if self._library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), _DO_NOT_EXIT) <= 0:
            raise KitError(f"espeak-ng does not start with its data in {data!r}; install it under a shorter path")
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_int]
        self._lock = threading.Lock()
        self._voice = ""

    def check(self, voice: str) -> None:
        """Check that espeak-ng has a voice.

        Raises:
            KitError: espeak-ng has no such voice.
        """
        with self._lock:
            self._choose(voice)

    def __call__(self, words: str, voice: str) -> str:
        """The phonemes of words in an espeak-ng voice ("en-us"), accents apart from letters (NFD).

        Raises:
            KitError: see `check`.
        """
        buffer = ctypes.create_string_buffer(words.encode())
        rest = ctypes.c_void_p(ctypes.addressof(buffer))  # the library moves it on, clause by clause
        said = []
        with self._lock:
            self._choose(voice)
            while rest.value:
                said.append((self._library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA) or b"").decode())
        phonemes = _LANGUAGE_MARK.sub("", " ".join(said))
        return " ".join(unicodedata.normalize("NFD", phonemes).split())

    def _choose(self, voice: str) -> None:
        if voice == self._voice:
            return
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise KitError(f"espeak-ng has no voice {voice!r}; take a Piper voice of a language that it knows")
        self._voice = voice


espeak = functools.cache(Espeak)


def phonemes(sentence: Sequence[Clause], voice: str) -> str:
    """A sentence's phonemes, its signs among them.

    Raises:
        KitError: see `Espeak`.
    """
    return "".join(
        f"{espeak()(clause.words, voice)}{clause.sign}{'' if clause.sign in ENDS else ' '}" for clause in sentence
    )
