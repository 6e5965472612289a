"""The contract of a tower that hears.

Legend: N rows, P features of a row, E tower width.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from ..components.modalities.audio import AudioModality, Waveform
from ..core.interfaces import Preprocessor
from ..errors import KitError
from .comparing import check_close, distance, encode, refusal
from .contract import DoesNotApply, check
from .own_modalities import write_wav
from .towers import TowerContract


class AudioTowerContract(TowerContract):
    """What holds for a tower of the modality `audio`: lengths, windows, and sounds that are not as they should be.

    An author gives, besides a tower and a checkpoint, the arithmetic of its lengths. It is compared with the
    preprocessor and with the network.
    """

    # Of the tower's input.
    rate_hz: ClassVar[int] = 16_000
    # The shortest sound that is taken; how far features, and the windows of a long sound, start from one another.
    min_samples: ClassVar[int]
    hop_samples: ClassVar[int]
    window_samples: ClassVar[int]
    # How far features in the middle third of a window may be from those of the sound in one piece (relative, L2);
    # None for a tower that states that its windows have features of their own.
    window_tolerance: ClassVar[float | None]

    def count(self, num_samples: int) -> int:
        """How many features a whole sound of so many samples has, however many windows it takes."""
        raise NotImplementedError(f"{type(self).__name__} must give count()")

    def without_windows(self, preprocessor: Preprocessor) -> Preprocessor:
        """The same preprocessor with one window for any sound. Not asked for without a `window_tolerance`."""
        raise NotImplementedError(f"{type(self).__name__} must give without_windows(), or window_tolerance = None")

    def items(self) -> list[Waveform]:
        """A sound of nine features or so, one of two windows, the shortest one, and silence."""
        least, hop = self.min_samples, self.hop_samples
        sounds = [self.sound(n) for n in (least + 8 * hop + 17, self.window_samples + least + 5 * hop + 3, least)]
        return [*sounds, self.silence(least + 3 * hop)]

    def sound(self, num_samples: int, *, steady: bool = False) -> Waveform:
        """Noise; louder and louder if not `steady`, so that statistics over padding or over time show."""
        noise = np.random.default_rng(num_samples).standard_normal(num_samples)
        samples = 0.2 * noise * np.linspace(1.0 if steady else 0.2, 1.0, num_samples)
        return Waveform(samples.clip(-1, 1).astype(np.float32), self.rate_hz, "sound.wav")

    def silence(self, num_samples: int) -> Waveform:
        """No memory, of any length."""
        return Waveform(np.broadcast_to(np.float32(0), (num_samples,)), self.rate_hz, "silence.wav")

    def lengths(self) -> list[int]:
        """About two hundred: each side of every edge of a feature and of a window, and others."""
        least, hop, window = self.min_samples, self.hop_samples, self.window_samples
        starts = (least, hop, 2 * hop, least + hop, least + 2 * hop, window, window + least, 2 * window + least)
        edges = [start + near for start in starts for near in (-hop, -1, 0, 1, hop - 1, hop, least - 1)]
        chance = np.random.default_rng(0)
        others = [*chance.integers(least, least + 9 * hop, 120), *chance.integers(least, 2 * window, 40)]
        return sorted({int(length) for length in (*edges, *others) if length >= least})

    @check("num_features: the arithmetic of the network, for every length; or count() of the contract")
    def test_lengths(self) -> None:
        """The arithmetic of the contract, that of the preprocessor, and the shape of the last window, run alone."""
        tower, preprocessor = self.build(self.checkpoint)
        for length in self.lengths():
            item = self.sound(length)
            counts, rows = preprocessor.num_features(item), preprocessor(item)
            assert len(rows) == len(counts), f"{length} samples: {len(rows)} windows, {len(counts)} are counted"
            assert sum(counts) == self.count(length), f"{length} samples: counts {counts}, not {self.count(length)}"
            with torch.no_grad():
                made = tower(**preprocessor.collate(rows[-1:])).features.shape[1]
            assert made == counts[-1], f"{length} samples: the network gives {made} features, {counts[-1]} are counted"

    @check("num_features: it grows by one feature a hop")
    def test_hops(self) -> None:
        """For every length up to three hops, and around the edge of a window."""
        _, preprocessor = self.build(self.checkpoint)
        least, hop, window = self.min_samples, self.hop_samples, self.window_samples
        for first in (least, max(least, window - hop), 2 * window - hop):
            totals = [sum(preprocessor.num_features(self.silence(first + n))) for n in range(4 * hop)]
            for start, total in enumerate(totals[: 3 * hop]):
                one, hop_more = totals[start + 1] - total, totals[start + hop] - total
                assert one >= 0, f"{first + start + 1} samples give fewer features than one sample less"
                assert hop_more <= 1, f"from {first + start} samples, a hop more gives {hop_more} features more"

    @check("num_features: compute the length at the rate of the tower from that of the sound, as resampling does")
    def test_rates(self) -> None:
        """At the tower's rate and at others; batches are packed by it before a sound is decoded."""
        _, preprocessor = self.build(self.checkpoint)
        modality = AudioModality()
        for rate_hz in (self.rate_hz, self.rate_hz // 2, 3 * self.rate_hz, 11_025):
            for item in self.items():
                sound = _read(item.samples, rate_hz)
                expected, got = _counts(preprocessor, sound), _counts(preprocessor, modality.probe(sound))
                assert got == expected, f"a probe at {rate_hz} Hz counts {got}, its sound {expected}"

    @check("num_features and __call__: raise a KitError that names the sound")
    def test_shortest(self) -> None:
        """By the count and by the call, before the network could fail."""
        _, preprocessor = self.build(self.checkpoint)
        for length in range(max(1, self.min_samples - 2), self.min_samples):
            for ask in (preprocessor.num_features, preprocessor):
                message = refusal(ask, self.silence(length))
                assert message, f"a sound of {length} samples is not refused"
                assert "silence.wav" in message, f"does not name the sound: {message}"

    @check("num_features: the windows of a long sound; nothing is lost at a border, nothing comes twice")
    def test_windows(self) -> None:
        """For every remainder behind one, two and three windows: nothing is lost at a border, nothing comes twice."""
        _, preprocessor = self.build(self.checkpoint)
        for number in (1, 2, 3):
            for rest in range(-self.hop_samples, self.min_samples + 2 * self.hop_samples):
                length = number * self.window_samples + rest
                counts = preprocessor.num_features(self.silence(length))
                assert len(counts) >= number, f"{length} samples are {len(counts)} windows"
                assert sum(counts) == self.count(length), f"{length} samples: {counts}, not {self.count(length)}"

    @check("__call__: where the windows of a long sound begin; or window_tolerance")
    def test_middles(self) -> None:
        """For a tower that says so: a window's borders cost context, its middle is where it was."""
        if self.window_tolerance is None:
            raise DoesNotApply("its windows have features of their own (window_tolerance is None)")
        tower, preprocessor = self.build(self.checkpoint)
        item = self.sound(3 * self.window_samples + self.min_samples, steady=True)
        whole = encode(tower, self.without_windows(preprocessor), [item]).features[0]  # (P, E)
        got, counts = encode(tower, preprocessor, [item]).features, preprocessor.num_features(item)
        spread = distance(whole[1:], whole[:-1])
        assert self.window_tolerance < spread, (
            f"window_tolerance is no less than what neighbours differ by, {spread:.2g}"
        )
        for number, count in enumerate(counts[:3]):
            middle = slice(count // 3, count - count // 3)
            expected = whole[number * count :][middle]
            check_close(got[number][middle], expected, self.window_tolerance, f"middle of window {number}, and whole")

    @check("__call__: resample from the rate of the sound; and the network, where features are not finite")
    def test_strange(self) -> None:
        """Other types, rates and shapes than floats at the tower's rate; silence, an offset, clipping, a whisper."""
        tower, preprocessor = self.build(self.checkpoint)
        quantized = (self.items()[0].samples * 32768).astype(np.int16)
        expected = encode(tower, preprocessor, [_read(quantized / 32768, self.rate_hz)]).features
        for case, source in self._equal_sources(quantized, self.folder):
            got = encode(tower, preprocessor, [AudioModality().read(source)]).features
            check_close(got, expected, self.tolerance, f"{case}, and floats")
        for case, samples, rate_hz in self._strange_samples(quantized):
            item = _read(samples, rate_hz)
            count = self.count(-(-len(samples) * self.rate_hz // rate_hz))
            assert sum(preprocessor.num_features(item)) == count, f"{case}: not {count} features"
            features = encode(tower, preprocessor, [item]).features
            assert features.isfinite().all(), f"{case}: features are not finite"

    @check("__call__: let the KitErrors of the modality through, and raise one for what it takes")
    def test_refused(self) -> None:
        """Empty, not finite, sideways, cut off, not there, not a sound."""
        _, preprocessor = self.build(self.checkpoint)
        for case, source, name in self._bad_sources(self.folder):
            message = refusal(lambda source=source: preprocessor(AudioModality().read(source)))
            assert message, f"{case}: not refused"
            assert name in message, f"{case}: does not name the sound: {message}"
            assert "\n" not in message, f"{case}: more than one line: {message}"

    def _equal_sources(self, samples: np.ndarray, folder: Path) -> Iterator[tuple[str, Any]]:
        """The same sound, (n,) int16, in other words."""
        floats = samples / 32768
        yield "int16", (samples, self.rate_hz)
        yield "float64", (floats, self.rate_hz)
        yield "float32", (floats.astype(np.float32), self.rate_hz)
        yield "(n, 2)", (np.stack([floats, floats], axis=1), self.rate_hz)
        yield "a row of datasets", {"array": floats, "sampling_rate": self.rate_hz}
        yield "a wav file", write_wav(folder / "sound.wav", samples, self.rate_hz)

    def _strange_samples(self, samples: np.ndarray) -> Iterator[tuple[str, np.ndarray, int]]:
        floats = samples / 32768
        yield "half the rate", floats, self.rate_hz // 2
        yield "three times the rate", np.repeat(floats, 3), 3 * self.rate_hz
        yield "silence", np.zeros(len(floats)), self.rate_hz
        yield "an offset alone", np.full(len(floats), 0.5), self.rate_hz
        yield "clipped", np.sign(floats), self.rate_hz
        yield "a whisper", 1e-6 * floats, self.rate_hz

    def _bad_sources(self, folder: Path) -> Iterator[tuple[str, Any, str]]:
        """(case, source, what its refusal must name)."""
        array = "audio array"
        samples = self.items()[0].samples
        yield "empty", (samples[:0], self.rate_hz), array
        yield "(2, n)", (np.stack([samples, samples]), self.rate_hz), array
        for value in (np.nan, np.inf):
            yield str(value), (np.where(np.arange(len(samples)) == 3, value, samples), self.rate_hz), array
        cut = Path(write_wav(folder / "cut.wav", (samples * 32767).astype(np.int16), self.rate_hz))
        whole = cut.read_bytes()
        for size in (len(whole) // 2, 44, 30, 0):
            cut.write_bytes(whole[:size])
            yield f"cut off after {size} bytes", str(cut), str(cut)
        yield "missing", str(folder / "gone.wav"), str(folder / "gone.wav")


def _counts(preprocessor: Preprocessor, item: Any) -> list[int] | str:
    """How many features each row gives, or how the item is refused."""
    try:
        return preprocessor.num_features(item)
    except KitError as error:
        return str(error)


def _read(samples: np.ndarray, rate_hz: int) -> Waveform:
    return AudioModality().read((samples, rate_hz))
