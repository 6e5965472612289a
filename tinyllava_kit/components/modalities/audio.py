"""The audio modality: a sound file or an array of samples, read, checked and mixed to one channel."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Annotated, Any, BinaryIO

import numpy as np
from pydantic import Field

from tinyllava_kit.core.interfaces import Grid, Modality, Preprocessor
from tinyllava_kit.errors import KitError, shown
from tinyllava_kit.files.failures import first_line
from tinyllava_kit.files.item_sources import decoded, is_address
from tinyllava_kit.files.opening import open_file, reason
from tinyllava_kit.plugin.extras import imported

from .chunks import CONVERT, whole

MAX_CHANNELS = 8
MIN_MARKER_SECONDS = 1.0
MAX_SECONDS = 2 * 60 * 60  # a small file can decode to days of silence
MAX_BYTES = 256 << 20  # of a file's samples, mixed to one channel of float32: 23 minutes at 48 kHz, 70 at 16 kHz
_NO_LENGTH = 1 << 62  # frames of a file whose header has none, as libsndfile counts them
RATES_HZ = (1_000, 768_000)
Rate = Annotated[int, Field(ge=RATES_HZ[0], le=RATES_HZ[1])]  # as a file holds one
MAX_DRAWN = 2_000  # pieces of a waveform in a drawing, each from its lowest to its highest sample

_SOURCES = (
    "a path, bytes, base64 or a data: URL, a file object, (array, rate), {'array': ..., 'sampling_rate': ...} or "
    "{'bytes': ...}"
)
_UNDECODED = "DWVW"  # what libsndfile opens, and then cannot read
_WRITTEN = (".wav", ".flac", ".ogg")  # endings of files that are written
_BLOCK = 1 << 18  # frames decoded at a time: a header that lies about the length costs no memory


@dataclass(frozen=True, eq=False)
class Waveform:
    """A sound, read.

    samples: (n,) float32, one channel, finite, full scale at 1.0. rate_hz: samples a second.
    name: the file, or its name in messages.
    """

    samples: np.ndarray
    rate_hz: int
    name: str


class AudioModality(Modality):
    """Sounds of any length, in one channel. Several channels are averaged.

    Files are decoded by soundfile: wav, flac, ogg (vorbis, opus), mp3, aiff and what else libsndfile knows.
    A file that ends before its header says so is refused: wav (RF64 and W64 as well), aiff, flac, and an mp3 file
    whose first frame holds its length. Any other mp3 file, and an ogg file, states no length and gives what is
    there. A wav file whose sizes were never written is read to its end. `read` and `probe` agree in all of this.

    Args:
        marker_seconds: cut a sound every so many seconds and write the time of each part before it (``[1:30]``), for
            questions about when; 0: one item, no times. The tower hears each part by itself.

    Raises:
        KitError: `marker_seconds` is out of bounds.
    """

    unit = "seconds"

    def __init__(self, *, marker_seconds: float = 0.0) -> None:
        if not (marker_seconds == 0 or MIN_MARKER_SECONDS <= marker_seconds <= MAX_SECONDS):
            raise KitError(
                f"audio: marker_seconds must be 0 or {MIN_MARKER_SECONDS} to {MAX_SECONDS}, got {marker_seconds}"
            )
        self.marker_seconds = marker_seconds

    def read(self, source: Any) -> Waveform:
        """A sound -> `Waveform`, at the rate that it has.

        Args:
            source: a path, bytes of a file, a file object, a pair (array, rate in Hz), or a row of Hugging Face
                datasets: a mapping with `array` and `sampling_rate`, or with `bytes`. Arrays are (n,) or (n, channels):
                floats, int8, int16 or int32 at their full scale, uint8 around 128.

        Raises:
            KitError: missing, corrupt, truncated, empty, not finite, too long, of the wrong shape, type or rate;
                names the file.
        """
        if isinstance(source, Waveform):
            return source
        source = decoded(source, "audio")
        if isinstance(source, Mapping) and {"array", "sampling_rate"} <= source.keys():
            return _from_array(source["array"], source["sampling_rate"], str(source.get("path") or "audio array"))
        if isinstance(source, (tuple, list)) and len(source) == 2:
            return _from_array(source[0], source[1], "audio array")
        with _opened(source) as (file, name):
            return _read_file(file, name)

    def probe(self, source: Any) -> Waveform:
        """As many zeros as `read` gives samples, in no memory: of a file by its header, of an array by its shape.

        Raises:
            KitError: as `read`, but not for faults of the samples.
        """
        if isinstance(source, Waveform):
            return _zeros(len(source.samples), source.rate_hz, source.name)
        source = decoded(source, "audio")
        if isinstance(source, (tuple, list)) or (isinstance(source, Mapping) and "array" in source):
            waveform = self.read(source)
            return _zeros(len(waveform.samples), waveform.rate_hz, waveform.name)
        with _opened(source) as (file, name):
            return _probe(file, name)

    def measure(self, source: Any) -> float:
        """Seconds: of a file by its header.

        Raises:
            KitError: as `probe`.
        """
        probe = self.probe(source)
        return len(probe.samples) / probe.rate_hz

    def decoded_bytes(self, item: Waveform) -> int:
        """Of its samples."""
        return int(item.samples.nbytes)

    def blank(self, item: Waveform) -> Waveform:
        """Silence of the same length and rate."""
        return replace(item, samples=np.zeros_like(item.samples))

    def join(self, pieces: Sequence[Waveform]) -> Waveform:
        """The pieces of a sound behind one another; all have its rate."""
        return replace(pieces[0], samples=np.concatenate([piece.samples for piece in pieces]))

    def check_name(self, path: str) -> None:
        if os.path.splitext(path)[1].lower() not in _WRITTEN:
            raise KitError(f"cannot write {path!r}: give a file that ends in .wav, .flac or .ogg")

    def write(self, item: Waveform, path: str) -> None:
        """Save a sound in the format that the file's ending says: wav (16 bits), flac or ogg.

        Raises:
            KitError: an ending that is not one of these, or the file cannot be written.
        """
        self.check_name(path)
        soundfile = _soundfile(path)
        partial, ending = f"{path}.part", os.path.splitext(path)[1].removeprefix(".").upper()
        try:
            with (
                open(partial, "wb") as file,
                soundfile.SoundFile(file, "w", item.rate_hz, 1, format=ending) as written,
            ):
                for start in range(0, len(item.samples), _BLOCK):  # libsndfile crashes where an ogg is given at once
                    written.write(item.samples[start : start + _BLOCK])
            os.replace(partial, path)
        except (OSError, soundfile.SoundFileError) as error:
            raise KitError(f"cannot write {path!r}: {getattr(error, 'strerror', None) or first_line(error)}") from error
        finally:
            with suppress(OSError):
                os.unlink(partial)

    def expand(self, item: Waveform, preprocessor: Preprocessor) -> list[Any]:
        """The sound alone or, with `marker_seconds`, the time and the part that starts there, in turns.

        A rest shorter than a second stays with the part before it.
        """
        if not self.marker_seconds:
            return [item]
        step = round(self.marker_seconds * item.rate_hz)
        starts = [s for s in range(0, len(item.samples), step) if s == 0 or len(item.samples) - s >= item.rate_hz]
        parts: list[Any] = []
        for start, stop in zip(starts, [*starts[1:], len(item.samples)], strict=True):
            parts += [clock(start / item.rate_hz), replace(item, samples=item.samples[start:stop])]
        return parts

    def draw(
        self, axes: Any, item: Waveform, preprocessor: Preprocessor, num_features: int, grid: Grid | None
    ) -> np.ndarray:
        """The waveform over its seconds; each feature has an equal share of them, right to about its length."""
        seconds = len(item.samples) / item.rate_hz
        peak = max(float(np.abs(item.samples).max()), 1e-6)
        pieces = np.array_split(item.samples, min(MAX_DRAWN, len(item.samples)))
        at = np.linspace(0, seconds, len(pieces))
        axes.fill_between(at, [piece.min() for piece in pieces], [piece.max() for piece in pieces], color="black")
        axes.set(xlim=(0, seconds), ylim=(-peak, peak), yticks=[], xlabel="s")
        edges = np.linspace(0, seconds, num_features + 1)
        return np.stack(
            [edges[:-1], np.full(num_features, peak), edges[1:], np.full(num_features, -peak)], axis=1
        )  # (P, 4)


def clock(seconds: float) -> str:
    """A time as text.

    Example:
        >>> clock(90), clock(3725.5)
        ('[1:30]', '[1:02:05]')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"[{hours}:{minutes:02}:{rest:02}]" if hours else f"[{minutes}:{rest:02}]"


def _zeros(num_samples: int, rate_hz: int, name: str) -> Waveform:
    return Waveform(np.broadcast_to(np.float32(0), (num_samples,)), rate_hz, name)


def _probe(file: BinaryIO, name: str) -> Waveform:
    """What a file's header promises, which is what `_read_file` gives or refuses."""
    with _sound(file, name) as sound:
        if not sound.frames:
            raise KitError(f"{shown(name)} is empty; expected at least one sample")
        if not _reaches_end(sound):  # an mp3 file that was cut, where its length is written
            raise KitError(f"{shown(name)} is truncated: it promises {sound.frames} samples and holds fewer")
        return _zeros(sound.frames, sound.samplerate, name)


def _reaches_end(sound: Any) -> bool:
    """Whether the last sample is there. Some encodings (GSM, G.721) give it to who reads all before it alone."""
    if sound.seekable():
        sound.seek(sound.frames - 1)
        return len(sound.read(1)) == 1
    promised: int = sound.frames
    return sum(map(len, _blocks(sound))) >= promised


def _blocks(sound: Any) -> Iterator[np.ndarray]:
    """All that can be decoded, (n, channels) float32 each."""
    while len(block := sound.read(_BLOCK, dtype="float32", always_2d=True)):
        yield block


@contextmanager
def _sound(file: BinaryIO, name: str) -> Iterator[Any]:
    """A file, opened for its decoder; what its header says is checked."""
    with _decoding(name) as soundfile, soundfile.SoundFile(whole(file, name)) as sound:
        _rate(sound.samplerate, name)
        _check_channels(sound.channels, name)
        if sound.frames >= _NO_LENGTH:
            raise KitError(f"{shown(name)} was streamed: its header has no length; save it again as a file")
        _check_length(sound.frames, sound.samplerate, name)
        if sound.subtype.startswith(_UNDECODED):
            raise KitError(f"{shown(name)}: its samples are {sound.subtype_info}, not decoded; {CONVERT}")
        yield sound


def _check_length(num_samples: int, rate_hz: int, name: str) -> None:
    if num_samples > MAX_SECONDS * rate_hz:
        raise KitError(f"{shown(name)} is longer than {MAX_SECONDS} s; cut it into several files")
    if num_samples * 4 > MAX_BYTES:
        seconds = MAX_BYTES // 4 // rate_hz
        raise KitError(
            f"{shown(name)} has more samples than {MAX_BYTES >> 20} MiB hold, {seconds} s at {rate_hz} Hz; cut it into "
            "several files, or save it at a lower rate"
        )


@contextmanager
def _opened(source: Any) -> Iterator[tuple[BinaryIO, str]]:
    """A source's file and how messages call it; a file that is opened for it is closed at the end."""
    name = getattr(source, "name", None)
    name = name if isinstance(name, str) else "audio stream"
    if isinstance(source, Mapping) and source.keys() <= {"bytes", "path"}:
        name = str(source.get("path") or "audio bytes")
        source = source.get("path") if source.get("bytes") is None else source["bytes"]
    if isinstance(source, (bytes, bytearray, memoryview)):
        yield io.BytesIO(source), name if name != "audio stream" else "audio bytes"
    elif isinstance(source, (str, os.PathLike)):
        with _open(os.fspath(source)) as file:
            yield file, os.fspath(source)
    elif hasattr(source, "read"):
        yield source, name
    else:
        raise KitError(f"an audio source of type {type(source).__name__}; give {_SOURCES}")


def _open(path: str) -> BinaryIO:
    if is_address(path):
        raise KitError(f"sound {shown(path)} is an address; download it and give the file")
    try:
        return open_file(path)
    except OSError as error:
        raise KitError(f"cannot open {shown(path)}: {reason(error)}") from error


@contextmanager
def _decoding(name: str) -> Iterator[Any]:
    """The decoder, whose errors become one line that names the file."""
    soundfile = _soundfile(name)
    try:
        yield soundfile
    except soundfile.SoundFileError as error:
        reason = (getattr(error, "error_string", None) or first_line(error)).strip()
        other = any(word in reason for word in ("unimplemented format", "unsupported encoding"))
        advice = CONVERT if other else "expected a whole wav, flac, ogg, opus, mp3 or aiff file"
        raise KitError(f"cannot decode {shown(name)}: {reason}; {advice}") from error


def _soundfile(name: str) -> Any:
    return imported("soundfile", f"cannot read {shown(name)}: a sound file")


def _read_file(file: BinaryIO, name: str) -> Waveform:
    """Decode a file block by block, mixing as it goes."""
    mix = _Mix(name)
    with _sound(file, name) as sound:
        rate_hz, promised = sound.samplerate, sound.frames
        for block in _blocks(sound):
            mix.add(block)
            _check_length(mix.num_frames, rate_hz, name)
    if mix.num_frames < promised:
        raise KitError(f"{shown(name)} is truncated: it promises {promised} samples and holds {mix.num_frames}")
    return Waveform(mix.finish(), rate_hz, name)


def _from_array(array: Any, rate: Any, name: str) -> Waveform:
    rate_hz = _rate(rate, name)
    try:
        samples = np.asarray(array)
    except (ValueError, TypeError, RuntimeError) as error:
        raise KitError(f"{shown(name)} is no array of samples: {first_line(error)}") from error
    if samples.ndim not in (1, 2):
        raise KitError(f"{shown(name)} has shape {samples.shape}; expected (n,) or (n, channels)")
    if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
        raise KitError(f"{shown(name)} has shape {samples.shape}; expected (n,) or (n, channels): transpose it")
    _check_channels(1 if samples.ndim == 1 else samples.shape[1], name)
    mix = _Mix(name)
    mix.add(_full_scale(samples[:, None] if samples.ndim == 1 else samples, name))
    return Waveform(mix.finish(), rate_hz, name)


def _full_scale(samples: np.ndarray, name: str) -> np.ndarray:
    """Samples of any usual type as float32 with full scale at 1.0."""
    dtype = samples.dtype
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # what overflows is reported as not finite
            return samples.astype(np.float32)
    if dtype == np.uint8:
        return (samples.astype(np.float32) - 128.0) / 128.0
    if dtype in (np.int8, np.int16, np.int32):
        return samples.astype(np.float32) / -float(np.iinfo(dtype).min)
    raise KitError(f"{shown(name)} has samples of type {dtype}; expected float, int8, int16, int32 or uint8")


def _rate(rate: Any, name: str) -> int:
    low, high = RATES_HZ
    number = isinstance(rate, (int, float, np.integer, np.floating)) and not isinstance(rate, bool)
    if not number or not low <= rate <= high or int(rate) != rate:
        given = rate if number else type(rate).__name__
        raise KitError(
            f"{shown(name)} has rate {given}; expected an integer from {low} to {high} Hz, given as (array, rate)"
        )
    return int(rate)


def _check_channels(channels: int, name: str) -> None:
    if not 1 <= channels <= MAX_CHANNELS:
        raise KitError(f"{shown(name)} has {channels} channels; expected 1 to {MAX_CHANNELS}")


class _Mix:
    """The mean of the channels, gathered block by block, and how loud each channel was."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.num_frames = 0
        self.blocks: list[np.ndarray] = []
        self.energy: np.ndarray | float = 0.0  # of each channel
        self.mixed_energy = 0.0

    def add(self, block: np.ndarray) -> None:
        """Take a block of (n, channels) float32."""
        bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
        if len(bad):
            first = self.num_frames + int(bad[0])
            raise KitError(f"{shown(self.name)} is not finite at sample {first}; expected no NaN or infinity")
        self.energy = self.energy + np.square(block, dtype=np.float64).sum(axis=0)  # (channels,)
        mixed = block.mean(axis=1, dtype=np.float64)  # (n,)
        self.mixed_energy += float(np.square(mixed).sum())
        self.blocks.append(mixed.astype(np.float32))
        self.num_frames += len(block)

    def finish(self) -> np.ndarray:
        """The mix, (n,) float32."""
        if not self.num_frames:
            raise KitError(f"{shown(self.name)} is empty; expected at least one sample")
        samples, at = np.empty(self.num_frames, np.float32), 0
        for number, block in enumerate(self.blocks):
            samples[at : at + len(block)] = block
            at += len(block)
            self.blocks[number] = block[:0]  # its memory is given back, so that a long sound is not held twice
        if self.mixed_energy < 0.01 * np.max(self.energy):  # 0.1 of the amplitude
            warnings.warn(
                f"{shown(self.name)}: the channels cancel each other, their mean is nearly silent; give one channel",
                stacklevel=2,
            )
        return samples
