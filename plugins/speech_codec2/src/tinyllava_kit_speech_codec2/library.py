"""libcodec2, the library that pycodec2 brings or the system has, called through ctypes."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import shutil
import tempfile
from importlib import metadata
from typing import Any

import numpy as np

from tinyllava_kit import KitError

LIBRARY = "CODEC2_LIBRARY"  # an environment variable: the path of another one

_NATURAL = 0  # numbers are written in binary, not as Gray code


def find_library() -> str:
    """The path or name of libcodec2.

    Raises:
        KitError: there is none.
    """
    if named := os.environ.get(LIBRARY):
        return named
    try:
        files = metadata.files("pycodec2") or []
    except metadata.PackageNotFoundError:
        files = []
    carried = [str(file.locate()) for file in files if "libcodec2" in file.name]
    found = carried[0] if carried else ctypes.util.find_library("codec2")
    if found is None:
        raise KitError(f"Codec 2 needs libcodec2: pip install pycodec2, or set {LIBRARY} to the path of one")
    return found


class Codec:
    """A coder or decoder of one sound, frame after frame.

    The library draws the phases of unvoiced speech from one generator for the whole process, which nobody can set. With
    `fresh`, the codec works in a copy of the library of its own, whose generator stands at its beginning: so the same
    bytes always give the same samples.

    Args:
        number: of the mode, as the library counts. samples: of a frame. num_bytes: of a coded one.

    Raises:
        KitError: the library cannot be loaded or does not know the mode.
    """

    def __init__(self, number: int, samples: int, num_bytes: int, *, fresh: bool = False) -> None:
        self.samples, self.num_bytes = samples, num_bytes
        self._library = _load(fresh)
        self._state = self._library.codec2_create(number)
        if not self._state:
            raise KitError(f"{find_library()!r} does not know mode number {number} of Codec 2; install a newer one")
        self._library.codec2_set_natural_or_gray(self._state, _NATURAL)

    def __del__(self) -> None:
        if getattr(self, "_state", None):
            self._library.codec2_destroy(self._state)

    def encode(self, samples: np.ndarray) -> np.ndarray:
        """(samples,) int16 -> (num_bytes,) uint8."""
        coded = np.zeros(self.num_bytes, np.uint8)
        self._library.codec2_encode(self._state, coded.ctypes.data, np.ascontiguousarray(samples, np.int16).ctypes.data)
        return coded

    def decode(self, coded: np.ndarray) -> np.ndarray:
        """(num_bytes,) uint8 -> (samples,) int16."""
        samples = np.zeros(self.samples, np.int16)
        self._library.codec2_decode(self._state, samples.ctypes.data, np.ascontiguousarray(coded, np.uint8).ctypes.data)
        return samples


def _load(fresh: bool) -> Any:
    path = find_library()
    try:
        if not fresh:
            return _declared(ctypes.CDLL(path))
        with tempfile.TemporaryDirectory() as folder:  # once it is loaded, its file may go
            copy = shutil.copy(
                path if os.path.sep in path else _system_path(path), os.path.join(folder, "libcodec2.so")
            )
            return _Unloading(_declared(ctypes.CDLL(copy)))
    except OSError as error:
        raise KitError(f"cannot load {path!r}: {error}; set {LIBRARY} to the path of a libcodec2") from error


class _Unloading:
    """A library that is unloaded when nobody needs it any more."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def __del__(self) -> None:
        from _ctypes import dlclose

        dlclose(self._library._handle)


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer = ctypes.c_void_p
    library.codec2_create.restype, library.codec2_create.argtypes = pointer, [ctypes.c_int]
    library.codec2_destroy.restype, library.codec2_destroy.argtypes = None, [pointer]
    library.codec2_set_natural_or_gray.restype = None
    library.codec2_set_natural_or_gray.argtypes = [pointer, ctypes.c_int]
    for name in ("codec2_encode", "codec2_decode"):
        function = getattr(library, name)
        function.restype, function.argtypes = None, [pointer, pointer, pointer]
    return library


def _system_path(name: str) -> str:
    """Where the loader found a library of the system."""
    ctypes.CDLL(name)
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return next(line.split()[-1] for line in maps if os.path.basename(line.split()[-1]).startswith(name))
