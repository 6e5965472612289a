"""The contracts of the modalities that the kit ships: pictures and sounds."""

from __future__ import annotations

import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from ..components.modalities.audio import Waveform
from .contract import DoesNotApply
from .modalities import ModalityContract

RATE_HZ = 8_000


class ImageContract(ModalityContract):
    """Pictures of three sizes: noise, brighter towards the lower right, in which each colour is another."""

    other_options: ClassVar[Mapping[str, Any]] = {"aspect": "pad"}

    def sources(self, folder: Path) -> Sequence[Any]:
        """PNG files, an array and a picture."""
        pictures = [_pixels(*size) for size in ((41, 53), (29, 35), (77, 38), (30, 30))]
        for number, pixels in enumerate(pictures[:2]):
            Image.fromarray(pixels).save(folder / f"{number}.png")
        return [str(folder / "0.png"), str(folder / "1.png"), pictures[2], Image.fromarray(pictures[3])]

    def equal_sources(self, folder: Path) -> Sequence[tuple[Any, Any]]:
        """A file, bytes, an array and a picture; an opaque one with an alpha channel and without."""
        pixels = _pixels(23, 31)
        path = folder / "equal.png"
        Image.fromarray(pixels).save(path)
        opaque = np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], axis=2)
        others = (str(path), path.read_bytes(), Image.fromarray(pixels), opaque)
        return [(pixels, other) for other in others]

    def bad_sources(self, folder: Path) -> Mapping[str, Any]:
        """Arrays of other shapes and types."""
        return {"floats": np.zeros((3, 4, 3)), "two channels": np.zeros((3, 4, 2), np.uint8)}

    def sized(self, number: int) -> Any:
        """A picture of another width and height for each number."""
        return Image.fromarray(_pixels(6 + number, 5 + 2 * number))

    def expected_measure(self, item: Any) -> float:
        """A picture is one, whatever its size."""
        return 1.0


class AudioContract(ModalityContract):
    """Sounds of three lengths."""

    other_options: ClassVar[Mapping[str, Any]] = {"marker_seconds": 1.0}
    write_tolerance: ClassVar[float] = 1e-3  # of 16 bits

    def sources(self, folder: Path) -> Sequence[Any]:
        """Wav files, an array with its rate and a row of datasets."""
        sounds = [_samples(count, number) for number, count in enumerate((9_000, 4_000, 17_000, 2_500))]
        for number, samples in enumerate(sounds[:2]):
            write_wav(folder / f"{number}.wav", samples)
        row = {"array": sounds[3] / 32768, "sampling_rate": RATE_HZ}
        return [str(folder / "0.wav"), str(folder / "1.wav"), (sounds[2], RATE_HZ), row]

    def equal_sources(self, folder: Path) -> Sequence[tuple[Any, Any]]:
        """16 bits and floats, one channel and two, a file and its bytes."""
        samples = _samples(1_000, 7)
        path = folder / "equal.wav"
        write_wav(path, samples)
        floats = samples / 32768
        others = ((floats, RATE_HZ), (np.stack([floats, floats], 1), RATE_HZ), str(path), path.read_bytes())
        return [((samples, RATE_HZ), other) for other in others]

    def bad_sources(self, folder: Path) -> Mapping[str, Any]:
        """Arrays that are empty, not finite, or have no rate."""
        floats = _samples(100, 1) / 32768
        bad = {"no samples": (floats[:0], RATE_HZ), "no rate": floats}
        for value in (np.nan, np.inf):
            bad[f"a sound with {value}"] = (np.where(np.arange(100) == 3, value, floats), RATE_HZ)
        return bad

    def sized(self, number: int) -> Waveform:
        """A sound of so many hundredths of a second, from five on: shorter ones have no feature."""
        samples = _samples((number + 4) * RATE_HZ // 100, number) / 32768
        return Waveform(samples.astype(np.float32), RATE_HZ, f"sound {number}")

    def expected_measure(self, item: Waveform) -> float:
        """Seconds."""
        return len(item.samples) / item.rate_hz

    def test_suffixes(self) -> None:
        """What soundfile reads."""
        try:
            import soundfile  # noqa: F401
        except ImportError:
            raise DoesNotApply("soundfile is not installed: pip install 'tinyllava-kit[audio]'") from None
        super().test_suffixes()


def _pixels(height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8."""
    chance = np.random.default_rng(height * width)
    slope = np.linspace(0, 100, height)[:, None, None] + np.linspace(0, 50, width)[:, None]
    return (chance.integers(0, 60, (height, width, 3)) + slope + [0, 20, 40]).astype(np.uint8)


def _samples(count: int, seed: int) -> np.ndarray:
    """(count,) int16."""
    return (np.random.default_rng(seed).uniform(-0.6, 0.6, count) * 32767).astype(np.int16)


def write_wav(path: Path, samples: np.ndarray, rate_hz: int = RATE_HZ) -> str:
    """Write (n,) int16 samples as a sound of one channel; returns the path."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return str(path)
